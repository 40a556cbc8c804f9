"""One call of the command: its global options, and the surroundings it was called in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from hsmirror.cli.output import Output
from hsmirror.cli.program import Program
from hsmirror.clock import Clock

if TYPE_CHECKING:
    from hsmirror.model import Secret
    from hsmirror.settings import Settings


LONGEST_WAIT_UNATTENDED_SECONDS = 300.0
"""Where nobody looks on, a run that would wait longer ends instead, and says when to come back."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command may know of the machine."""

    environ: Mapping[str, str]
    cwd: Path
    user_config_dir: Path
    clock: Clock
    program: Program


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command is handed. `config` None: the file is looked for where it usually is."""

    output: Output
    config: Path | None
    surroundings: Surroundings

    @property
    def program(self) -> Program:
        return self.surroundings.program

    @property
    def clock(self) -> Clock:
        return self.surroundings.clock

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """The configuration, with arguments (by dotted key) on top. Raises ConfigurationError."""
        from hsmirror import settings as configuration

        return configuration.load(
            config=self.config,
            environ=self.surroundings.environ,
            overrides=overrides or {},
            cwd=self.surroundings.cwd,
            user_config_dir=self.surroundings.user_config_dir,
        )

    def key(self, settings: Settings) -> Secret:
        """The API key. Raises ConfigurationError where there is none."""
        from hsmirror.settings.credentials import api_key

        return api_key(settings, self.surroundings.environ)

    def archive(self, given: Path | None) -> Path:
        """The archive's folder: as given, else the configuration's."""
        return self.surroundings.cwd / given.expanduser() if given else self.settings().archive.path


def longest_wait_seconds(wait: bool | None, *, is_terminal: bool) -> float | None:
    """How long a run may stand still for the limits: as told, else as long as it takes if somebody looks on."""
    if wait is None:
        return None if is_terminal else LONGEST_WAIT_UNATTENDED_SECONDS
    return None if wait else 0.0


Injected: TypeAlias = Annotated[Invocation, Parameter(parse=False)]
"""How a command takes its invocation: handed in, never read from the command line."""
