"""`doctor`: what would stop a run, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation
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
    status = _exit_status(findings, missing)
    if invocation.output.is_json:
        invocation.output.document({"exit_status": int(status), "findings": findings})
    else:
        _show(invocation, findings, missing)
    return status


def _key(invocation: Invocation, settings: Settings) -> tuple[Secret | None, str]:
    try:
        return invocation.key(settings), ""
    except ConfigurationError as error:
        return None, str(error)


def _exit_status(findings: tuple[Finding, ...], missing: str) -> Exit:
    """What a run would end with."""
    if missing:
        return Exit.USAGE
    return next((finding.exit_status for finding in findings if finding.is_good is False), Exit.COMPLETE)


def _show(invocation: Invocation, findings: tuple[Finding, ...], missing: str) -> None:
    from rich.text import Text

    from hsmirror.cli.tables import compact_table

    output = invocation.output
    rows = []
    for finding in findings:
        what = Text(printable(finding.what), overflow="fold")
        if finding.todo and finding.is_good is not True:
            what.append(f"\n→ {printable(finding.todo)}", style="yellow")
        rows.append((output.mark(finding.is_good), finding.name, what))
    output.result(compact_table(("", "", ""), rows))
    if missing:
        output.error(missing)
