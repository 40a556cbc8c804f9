"""The only place that writes to stdout and stderr: results there, everything else here.

With `--json`, stdout carries exactly one JSON document; with `--log-format json`, stderr carries nothing but
lines of JSON. A reader that closes its end of the pipe ends no run:
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

from hsmirror.api.words import redacted
from hsmirror.cli.logs import JsonLog, Level
from hsmirror.cli.text import printable
from hsmirror.clock import Clock, SystemClock

_PLAIN_WIDTH = 100
_LEAST = {-1: Level.ERROR, 0: Level.INFO, 1: Level.DEBUG}


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        """Instead of ending the process, as rich would: nobody reads on, and that is all."""
        self.quiet = True
        _to_nowhere(self.file)


class Output:
    """Where results, remarks and errors go. `verbosity`: -1 errors alone, 0, 1 more, 2 tracebacks too."""

    def __init__(
        self,
        *,
        stdout: TextIO,
        stderr: TextIO,
        verbosity: int = 0,
        is_json: bool = False,
        logs_json: bool = False,
        clock: Clock | None = None,
    ) -> None:
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
        self.log: JsonLog | None = None
        """With `--log-format json`: where all that is not a result goes."""
        if logs_json:
            self.log = JsonLog(stderr, clock or SystemClock(), least=_LEAST[min(max(verbosity, -1), 1)])

    def __repr__(self) -> str:
        return f"<Output verbosity={self.verbosity} json={self.is_json}>"

    @property
    def is_terminal(self) -> bool:
        """Is somebody looking at stderr, where progress goes? Nobody is where lines of JSON go."""
        # rich's own idea of it follows FORCE_COLOR, which CI systems set.
        return self.log is None and self.console.file.isatty()

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
            _print(self.results, *renderables)

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
        if self.log is not None:
            self._write(Level.INFO, "remark", _text(*renderables))
        elif self.verbosity >= 0:
            _print(self.console, *renderables)

    def detail(self, *renderables: RenderableType) -> None:
        """A remark for `-v`."""
        if self.log is not None:
            self._write(Level.DEBUG, "remark", _text(*renderables))
        elif self.verbosity >= 1:
            self.console.print(*renderables, style="dim", sep="\n")

    def warn(self, message: str, event: str = "warning", **fields: Any) -> None:
        """What went wrong beside the work itself; on stderr, unless `-q`. `event` is for logs in JSON."""
        if self.log is not None:
            self._write(Level.WARNING, event, message, **fields)
        elif self.verbosity >= 0:
            text = Text(f"warning: {printable(redacted(message))}", style="yellow", overflow="fold")
            self.console.print(text, soft_wrap=not self.is_terminal)

    def event(self, level: Level, event: str, message: str, **fields: Any) -> None:
        """What a program may look for, with its fields; where logs are for people, nothing."""
        if self.log is not None:
            self._write(level, event, message, **fields)

    def error(self, message: str, event: str = "error", **fields: Any) -> None:
        """`hsmirror: <message>` on stderr, whatever the verbosity; without keys and signatures.

        `event` and `fields` are for logs in JSON.
        """
        if self.log is not None:
            self._write(Level.ERROR, event, message, **fields)
            return
        text = Text(f"hsmirror: {printable(redacted(message))}", style="red", overflow="fold")
        # In a log, where lines are searched, a message is one line.
        self.console.print(text, soft_wrap=not self.is_terminal)

    def trace(self, text: str, event: str = "traceback") -> None:
        """A traceback, or what a library logs, already redacted; for `-vv`."""
        if self.log is not None:
            self._write(Level.DEBUG, event, text)
            return
        self.console.print(Text("\n".join(map(printable, text.splitlines())), style="dim"), soft_wrap=True)

    def _write(self, level: Level, event: str, message: str, **fields: Any) -> None:
        if self.log is None or self.console.quiet:
            return
        try:
            self.log.write(level, event, message, **fields)
        except OSError:  # nobody reads on, or the disk of the log is full: no reason to end a run
            self.console.on_broken_pipe()


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


def _print(console: Console, *renderables: RenderableType) -> None:
    """Line by line; in files and pipes without the blanks that fill a table's rows."""
    if console.is_terminal:
        console.print(*renderables, sep="\n")
        return
    with console.capture() as captured:
        console.print(*renderables, sep="\n")
    console.out("\n".join(line.rstrip(" ") for line in captured.get().split("\n")), end="", highlight=False)


def _text(*renderables: RenderableType) -> str:
    """What would have been shown, in one text without styles."""
    console = Console(file=io.StringIO(), width=_PLAIN_WIDTH * 10, color_system=None, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(*renderables, sep="\n", soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _to_nowhere(stream: object) -> None:
    """Lets what is still buffered for a closed pipe go, so that flushing it at exit says nothing."""
    if stream in {sys.stdout, sys.stderr} and isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
