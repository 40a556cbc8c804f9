"""How far `verify` has come, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hsmirror.cli.output import Output


@contextmanager
def shown_progress(output: Output) -> Iterator[Callable[[int, int], None] | None]:
    """Hands out what is called with how much is done of how much; None where nobody would see it."""
    if output.verbosity < 0 or not output.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checking"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("checking", total=None)
        yield lambda done, whole: progress.update(task, completed=done, total=whole)
