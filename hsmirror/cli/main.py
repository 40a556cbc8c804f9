"""The `hsmirror` command: arguments in, an exit status out.

Everything that can go wrong ends here as one line on stderr and a status; a traceback needs `-vv`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from hsmirror import __version__
from hsmirror.api.words import redacted
from hsmirror.cli import signals
from hsmirror.cli.commands import add_commands
from hsmirror.cli.invocation import Invocation, Surroundings
from hsmirror.cli.logs import Level
from hsmirror.cli.output import Output
from hsmirror.cli.program import Program, WholeProgram
from hsmirror.cli.text import exit_words
from hsmirror.clock import SystemClock
from hsmirror.errors import Exit, HsmirrorError

_HELP = "Keep a complete, verified, readable copy of a lab's HyperStudy data."
_FIRST_STEPS = """\
First steps:
  hsmirror demo                            see what it does: no key, no network
  hsmirror sync EXPERIMENT --archive DIR   with HYPERSTUDY_API_KEY set
"""

_GLOBAL = Group("Global options", sort_key=99)


def main(argv: Sequence[str] | None = None, *, program: Program | None = None) -> int:
    """Runs one command and returns its exit status (`errors.Exit`).

    `argv` None: the process's arguments. `program`: what the commands run, if not the program itself. Never
    raises but for what ends the interpreter itself.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    call = _Call(tokens, program or WholeProgram())
    with signals.interruptions():
        try:
            with _logs(call):
                status = call.run()
        except (Exception, KeyboardInterrupt, signals.Interruption) as error:  # noqa: BLE001 - the last resort
            status = _fail(error, call.output)
        call.output.event(_level(status), "end", f"ended: {exit_words(status)}", exit_status=status)
        return status


class _Call:
    """One call, from its arguments to its status."""

    def __init__(self, tokens: Sequence[str], program: Program) -> None:
        self._tokens = tokens
        self._program = program
        options = tokens[: tokens.index("--")] if "--" in tokens else tokens
        # A guess, for what goes wrong before the options are understood.
        self.output = _output(
            is_json="--json" in options,
            verbosity=2 if "-vv" in options else 0,
            logs_json="--log-format=json" in options or ("--log-format", "json") in pairwise(options),
        )

    def run(self) -> int:
        app = App(
            name="hsmirror",
            help=_HELP,
            help_epilogue=_FIRST_STEPS,
            version=f"hsmirror {__version__}",
            usage="hsmirror COMMAND [OPTIONS]",
            help_format="plaintext",
            console=self.output.results,
            error_console=self.output.console,
            default_parameter=Parameter(negative="", show_default=False),
            result_action="return_value",
            suppress_keyboard_interrupt=False,
        )
        add_commands(app)
        app.meta.default(self._launcher(app))
        status = app.meta(self._tokens, exit_on_error=False, print_error=False)
        return int(status or 0)

    def _launcher(self, app: App) -> Callable[..., int]:
        """Takes the global options wherever they stand, and hands the rest to its command."""

        def launch(
            *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
            config: Annotated[
                Path | None,
                Parameter(
                    name=["--config", "-c"],
                    group=_GLOBAL,
                    help="The configuration file; else ./hsmirror.toml, then the user's.",
                ),
            ] = None,
            json: Annotated[
                bool,
                Parameter(
                    name="--json", group=_GLOBAL, help="Print one JSON document on stdout, nothing else."
                ),
            ] = False,
            verbose: Annotated[
                int,
                Parameter(
                    name=["--verbose", "-v"], group=_GLOBAL, count=True, help="Say more; -vv: tracebacks, too."
                ),
            ] = 0,
            quiet: Annotated[
                bool, Parameter(name=["--quiet", "-q"], group=_GLOBAL, help="Say nothing but errors.")
            ] = False,
            log_format: Annotated[
                Literal["text", "json"],
                Parameter(group=_GLOBAL, help="json: stderr is one JSON object a line, without bars."),
            ] = "text",
        ) -> int:
            verbosity = -1 if quiet and not verbose else verbose
            self.output = _output(is_json=json, verbosity=verbosity, logs_json=log_format == "json")
            if not tokens:
                app.meta(["--help"])
                return Exit.USAGE
            command, bound, injected = app.parse_args(tokens, exit_on_error=False, print_error=False)
            invocation = Invocation(self.output, config, _surroundings(self._program))
            result = command(*bound.args, **bound.kwargs, **dict.fromkeys(injected, invocation))
            return int(result or 0)

        return launch


def _output(*, is_json: bool, verbosity: int, logs_json: bool) -> Output:
    return Output(
        stdout=sys.stdout, stderr=sys.stderr, is_json=is_json, verbosity=verbosity, logs_json=logs_json
    )


def _surroundings(program: Program) -> Surroundings:
    from platformdirs import user_config_path

    environ: Mapping[str, str] = os.environ
    return Surroundings(environ, Path.cwd(), user_config_path("hsmirror"), SystemClock(), program)


def _fail(error: BaseException, output: Output) -> int:
    """Says what went wrong, and returns the status that says it too."""
    error = _alone(error)
    message, status = _verdict(error)
    if output.verbosity > 1 and not isinstance(error, CycloptsError):
        output.trace(redacted("".join(traceback.format_exception(error))))
    output.error(message, exit_status=int(status))
    if output.is_json and not output.has_document:
        output.document({"exit_status": int(status), "error": redacted(message)})
    return int(status)


def _alone(error: BaseException) -> BaseException:
    """The one that counts of those that a task group raised together: the first that is not ours to expect."""
    while isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        error = next((one for one in inner if not isinstance(one, HsmirrorError)), inner[0])
    return error


def _verdict(error: BaseException) -> tuple[str, Exit]:
    match error:
        case HsmirrorError():
            return str(error), error.exit_status
        case CycloptsError():
            command = " ".join(["hsmirror", *(error.command_chain or ())])
            return f"{_first_line(str(error))} See {command} --help", Exit.USAGE
        case signals.Interruption():
            return _interrupted(error.exit_status)
        case KeyboardInterrupt():
            return _interrupted(Exit.INTERRUPTED)
        case _:
            # Its text may hold an address with its signature: the place says enough.
            return f"this is a bug: {_place(error)}. Please report it, with what -vv adds", Exit.BUG


def _interrupted(status: Exit) -> tuple[str, Exit]:
    return "interrupted; what was fetched is safe: run the same command again to go on from here", status


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "wrong arguments")


def _place(error: BaseException) -> str:
    """`ValueError in hsmirror/mirror/run.py, line 12`."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "hsmirror" in Path(frame.filename).parts] or frames
    if not ours:
        return type(error).__name__
    parts = Path(ours[-1].filename).parts
    start = len(parts) - 1 - parts[::-1].index("hsmirror") if "hsmirror" in parts else len(parts) - 1
    return f"{type(error).__name__} in {'/'.join(parts[start:])}, line {ours[-1].lineno}"


def _level(status: int) -> Level:
    return Level.INFO if status == Exit.COMPLETE else Level.ERROR


class _Shown(logging.Handler):
    """Shows what libraries log, without an address's signature in it, on whatever the call's output is."""

    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def emit(self, record: logging.LogRecord) -> None:
        self._call.output.trace(redacted(f"{record.name}: {self.format(record)}"), "library")


@contextmanager
def _logs(call: _Call) -> Iterator[None]:
    """What libraries log is shown with `-vv` alone."""
    root = logging.getLogger()
    if not root.handlers:
        # Stays: Python shows what nobody handles, and some of it comes while the interpreter ends.
        root.addHandler(logging.NullHandler())
    if call.output.verbosity < 2:
        yield
        return
    handler = _Shown(call)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
