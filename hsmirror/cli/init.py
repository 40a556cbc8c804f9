"""`init`: writes a commented configuration, asking for what it needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hsmirror import settings as configuration
from hsmirror.cli.invocation import Injected
from hsmirror.cli.output import Output
from hsmirror.cli.selection import EVERY
from hsmirror.cli.text import printable
from hsmirror.errors import StorageError, UsageError
from hsmirror.settings.example import example
from hsmirror.settings.sources import FILE_NAME


def init(
    *,
    archive: Annotated[
        str | None, Parameter(help="The archive's folder. Else asked for, or 'archive'.")
    ] = None,
    experiment: Annotated[
        tuple[str, ...], Parameter(help="An experiment's id. Repeatable. Else asked for, or '*': every one.")
    ] = (),
    base_url: Annotated[str | None, Parameter(help="The API's address, if not the public one.")] = None,
    force: Annotated[bool, Parameter(help="Write over a configuration that is there.")] = False,
    invocation: Injected,
) -> int:
    """Write a commented configuration, asking for what it needs."""
    path = invocation.surroundings.cwd / (invocation.config or Path(FILE_NAME))
    if path.exists() and not force:
        raise UsageError(f"{path} exists: edit it, or write over it with --force")
    output = invocation.output
    ask = _asking(output) if sys.stdin.isatty() and output.is_terminal and not output.is_json else None
    values: dict[str, object] = {
        "archive.path": archive or _answer(ask, "Folder of the archive", "archive"),
        "experiments": list(experiment) or _ids(_answer(ask, "Experiments (ids, or * for every one)", EVERY)),
    }
    if base_url is not None:
        values["api.base_url"] = base_url
    # Loaded once before it is written: what cannot be meant is said now, not at night.
    configuration.load(
        config=None, environ={}, overrides=values, cwd=path.parent, user_config_dir=path.parent / "nowhere"
    )
    _write(path, example(values), force=force)
    if output.is_json:
        output.document({"config": str(path)})
    output.result(_next_steps(path, has_key="HYPERSTUDY_API_KEY" in invocation.surroundings.environ))
    return 0


def _asking(output: Output) -> Callable[[str], str]:
    def ask(question: str) -> str:
        output.console.print(question, end=" ")
        line = sys.stdin.readline()
        if not line:
            raise UsageError("no answer: give --archive and --experiment instead")
        return line.strip()

    return ask


def _answer(ask: Callable[[str], str] | None, question: str, default: str) -> str:
    return (ask(f"{question} [{default}]:") or default) if ask else default


def _ids(text: str) -> list[str]:
    return [id_ for id_ in re.split(r"[,\s]+", text) if id_]


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _next_steps(path: Path, *, has_key: bool) -> str:
    steps = (
        [] if has_key else ["  export HYPERSTUDY_API_KEY=…   your key; or name key_file in the configuration"]
    )
    steps += ["  hsmirror doctor               would a run work?", "  hsmirror sync"]
    return "\n".join([f"wrote {printable(str(path))}; next:", *steps])
