"""The example: every key with its comment and default, as `hsmirror init` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from hsmirror.settings.keys import KEYS, names
from hsmirror.settings.schema import FIELDS
from hsmirror.settings.sources import from_arguments

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_HEAD: Final = """\
# The configuration of hsmirror: every key, with its default. Each also has an environment variable:
# limits.share is HSMIRROR_LIMITS__SHARE; HSMIRROR_EXPERIMENTS is a list of ids with commas between.
# The API key never stands here: set HYPERSTUDY_API_KEY, or use key_file or key_command.
"""


def example(values: Mapping[str, object] = _NOTHING) -> str:
    """A commented configuration with every key: its default, or what `values` holds for it.

    `values` are as the `overrides` of `load`, experiments by their ids. Keys that only narrow an experiment
    are commented out, with `#` alone before them. Raises ConfigurationError for an unknown key.
    """
    given = from_arguments(values, Path())
    ids = given["experiments"].value if "experiments" in given else ["exp_research_001"]
    lines = [_HEAD]
    for table in ("api", "limits", "archive", "monitor"):
        lines.append(f"[{table}]")
        for name in names(table):
            key = f"{table}.{name}"
            value = given[key].value if key in given else FIELDS[key].default
            lines += [f"# {KEYS[key].comment}", f"{name} = {_toml(value)}"]
        lines.append("")
    for n, id_ in enumerate(ids):
        lines += [
            "[[experiments]]",
            *([f"# {KEYS['experiments.id'].comment}"] if n == 0 else []),
            f"id = {_toml(id_)}",
        ]
        lines += _narrowing() if n == 0 else []
        lines.append("")
    return "\n".join(lines)


def _narrowing() -> Iterator[str]:
    for name in names("experiments")[1:]:
        key = f"experiments.{name}"
        yield f"# {KEYS[key].comment}"
        yield f"#{name} = {_toml(FIELDS[key].default)}"


def _toml(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    # TOML's basic strings are JSON's, but for surrogate pairs and DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
