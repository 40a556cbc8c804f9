"""`doctor`: what would stop a run, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation
from hsmirror.cli.output import Output
from hsmirror.cli.text import printable
from hsmirror.errors import ConfigurationError, Exit

if TYPE_CHECKING:
    from hsmirror.mirror.doctor import Finding
    from hsmirror.model import Secret
    from hsmirror.settings import Settings


def doctor(*, invocation: Injected) -> int:
    """Check key, scopes, clock, disk and limits: what would stop a run, and how to mend it."""
    settings = invocation.settings()
    key, missing = _key(invocation, settings)
    findings = signals.run(lambda: invocation.program.diagnose(settings, key))
    if missing:
        from hsmirror.mirror.doctor import Finding

        findings = (Finding("key", False, missing, exit_status=Exit.USAGE), *findings)
    status = _exit_status(findings)
    if invocation.output.is_json:
        invocation.output.document({"exit_status": status, "findings": findings})
    else:
        _show(findings, invocation.output)
    return status


def _key(invocation: Invocation, settings: Settings) -> tuple[Secret | None, str]:
    try:
        return invocation.key(settings), ""
    except ConfigurationError as error:
        return None, str(error)


def _exit_status(findings: Sequence[Finding]) -> int:
    """What a run would end with."""
    hindrances = (finding for finding in findings if finding.is_good is False)
    return next((finding.exit_status or int(Exit.INCOMPLETE) for finding in hindrances), int(Exit.COMPLETE))


def _show(findings: Sequence[Finding], output: Output) -> None:
    from rich.text import Text

    from hsmirror.cli.tables import compact_table

    rows = []
    for finding in findings:
        what = Text(printable(finding.what), overflow="fold")
        if finding.todo and finding.is_good is not True:
            what.append(f"\n→ {printable(finding.todo)}", style="yellow")
        rows.append((output.mark(finding.is_good), finding.name, what))
    output.result(compact_table(("", "", ""), rows))
    if _exit_status(findings) == Exit.COMPLETE:
        output.result(Text("nothing stops a run", style="bold green"))
