"""What is installed here of what the peers need, and in which versions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable

from benchmarks.peers import Peer

_ASK = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def module_versions(python: str, names: Iterable[str]) -> dict[str, str | None]:
    """Versions of distributions that an interpreter has; None for those that it lacks."""
    asked = [python, "-c", _ASK, *names]
    answer = subprocess.run(asked, capture_output=True, check=True, timeout=60)
    versions: dict[str, str | None] = json.loads(answer.stdout)
    return versions


def program_version(name: str) -> str | None:
    """What a program says of its version; None where it is not installed."""
    if shutil.which(name) is None:
        return None
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found.group() if found is not None else "of an unknown version"


def missing(peers: Iterable[Peer], versions: dict[str, str | None]) -> dict[str, str]:
    """Why peers cannot take part, by key; those that can are not in it."""
    lacking = {
        peer.key: [name for name in (*peer.needs, *peer.modules) if versions[name] is None] for peer in peers
    }
    return {key: f"{' and '.join(names)} not installed" for key, names in lacking.items() if names}
