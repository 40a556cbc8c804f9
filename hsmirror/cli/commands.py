"""Which commands there are, in the order in which a newcomer meets them. Each is imported when it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cyclopts import App


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what `--help` says of it, its usage, and examples that can be copied."""

    function: str
    help: str
    usage: str
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.function.rpartition(":")[2]


COMMANDS: Final = (
    Command(
        "hsmirror.cli.demo:demo",
        "Mirror a made-up lab on this machine: no key, no network.",
        "demo [OPTIONS]",
        ("hsmirror demo",),
    ),
    Command(
        "hsmirror.cli.init:init",
        "Write a commented configuration, asking for what it needs.",
        "init [OPTIONS]",
        ("hsmirror init", "hsmirror init --archive /data/archive --experiment exp_research_001"),
    ),
    Command(
        "hsmirror.cli.doctor:doctor",
        "Check what would stop a run, and say how to mend it.",
        "doctor [OPTIONS]",
        ("hsmirror doctor",),
    ),
    Command(
        "hsmirror.cli.sync:plan",
        "Say what a run would fetch and how long it takes.",
        "plan [EXPERIMENT...] [OPTIONS]",
        ("hsmirror plan exp_research_001 --archive archive",),
    ),
    Command(
        "hsmirror.cli.sync:sync",
        "Bring the archive up to date.",
        "sync [EXPERIMENT...] [OPTIONS]",
        ("hsmirror sync", "hsmirror sync exp_research_001 --archive archive --type events --since 3d"),
    ),
    Command(
        "hsmirror.cli.verify:verify",
        "Check every receipt against every byte.",
        "verify [ARCHIVE] [OPTIONS]",
        ("hsmirror verify archive", "hsmirror verify archive --sample 1/7"),
    ),
    Command(
        "hsmirror.cli.status:status",
        "Show what is held, how fresh, what is missing and why.",
        "status [ARCHIVE] [OPTIONS]",
        ("hsmirror status archive",),
    ),
    Command(
        "hsmirror.cli.forget:forget",
        "Remove a person's data for good: a withdrawn consent.",
        "forget --participant ID [ARCHIVE] [OPTIONS]",
        (
            "hsmirror forget --participant user_xyz789 archive --dry-run",
            "hsmirror forget --participant user_xyz789 archive",
        ),
    ),
    Command(
        "hsmirror.cli.lab:lab",
        "Serve made-up data under the documented limits until Ctrl-C.",
        "lab [OPTIONS]",
        ("hsmirror lab --rooms 500 --mint --latency 50ms",),
    ),
)


def add_commands(app: App) -> None:
    """Adds them all."""
    for order, command in enumerate(COMMANDS):
        heading = "Example" if len(command.examples) == 1 else "Examples"
        app.command(
            command.function,
            name=command.name,
            sort_key=order,
            help=command.help,
            usage=f"hsmirror {command.usage}",
            help_epilogue="\n".join([f"{heading}:", *(f"  {example}" for example in command.examples)]),
        )
