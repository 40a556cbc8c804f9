"""The only place that writes to stdout and stderr: results there, everything else here.

With `--json`, stdout carries exactly one JSON document. A reader that closes its end of the pipe ends no run:
what would have gone there is dropped, and the command keeps its own exit status.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from hsmirror.cli.text import printable, redacted

_PLAIN_WIDTH = 100


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        """Instead of ending the process, as rich would: nobody reads on, and that is all."""
        self.quiet = True
        _to_nowhere(self.file)


class Output:
    """Where results, remarks and errors go. `verbosity`: -1 errors alone, 0, 1 more, 2 tracebacks too."""

    def __init__(self, *, stdout: TextIO, stderr: TextIO, verbosity: int = 0, is_json: bool = False) -> None:
        self.verbosity = verbosity
        self.is_json = is_json
        for stream in (stdout, stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self._stdout = stdout
        self.results = _console(stdout)
        """For help, which is a result; on stdout."""
        self.has_document = False
        """Was the one JSON document written?"""
        self.console = _console(stderr)
        """For the progress display; on stderr."""

    def __repr__(self) -> str:
        return f"<Output verbosity={self.verbosity} json={self.is_json}>"

    @property
    def is_terminal(self) -> bool:
        """Is somebody looking at stderr, where progress goes?"""
        return self.console.file.isatty()  # rich's own idea of it follows FORCE_COLOR, which CI systems set

    def mark(self, is_good: bool | None) -> Text:
        """✓, ✗ or ?; in words where the terminal's encoding lacks the signs."""
        signs = ("✓", "✗") if self.console.encoding.lower().startswith("utf") else ("yes", "NO")
        match is_good:
            case True:
                return Text(signs[0], style="green")
            case False:
                return Text(signs[1], style="bold red")
            case None:
                return Text("?", style="yellow")

    def result(self, *renderables: RenderableType) -> None:
        """What was asked for, for people; on stdout. Nothing with `--json`."""
        if not self.is_json:
            self.results.print(*renderables, sep="\n")

    def text(self, text: str) -> None:
        """The same for lines to be copied: never wrapped."""
        if not self.is_json:
            self.results.print(Text(text), soft_wrap=True)

    def document(self, value: object) -> None:
        """What was asked for, for programs: one JSON document on stdout, every field of it written out."""
        import msgspec

        text = msgspec.json.encode(plain(value))
        if self.results.is_terminal:
            text = msgspec.json.format(text, indent=2)
        self.has_document = True
        try:
            self._stdout.write(text.decode() + "\n")
            self._stdout.flush()
        except BrokenPipeError:
            _to_nowhere(self._stdout)

    def say(self, *renderables: RenderableType) -> None:
        """A remark; on stderr, unless `-q`."""
        if self.verbosity >= 0:
            self.console.print(*renderables, sep="\n")

    def detail(self, *renderables: RenderableType) -> None:
        """A remark for `-v`."""
        if self.verbosity >= 1:
            self.console.print(*renderables, style="dim", sep="\n")

    def error(self, message: str) -> None:
        """`hsmirror: <message>` on stderr, whatever the verbosity; without keys and signatures."""
        text = Text(f"hsmirror: {printable(redacted(message))}", style="red", overflow="fold")
        # In a log, where lines are searched, a message is one line.
        self.console.print(text, soft_wrap=not self.is_terminal)

    def trace(self, text: str) -> None:
        """A traceback, already redacted; for `-vv`."""
        self.console.print(Text("\n".join(map(printable, text.splitlines())), style="dim"), soft_wrap=True)


def plain(value: object) -> Any:
    """A report as values that JSON knows, with the fields that stand at their defaults: readers want them."""
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, PurePath) else value


def _console(stream: TextIO) -> Console:
    console = _PipeConsole(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PLAIN_WIDTH
    return console


def _to_nowhere(stream: object) -> None:
    """Lets what is still buffered for a closed pipe go, so that flushing it at exit says nothing."""
    if stream in {sys.stdout, sys.stderr} and isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
