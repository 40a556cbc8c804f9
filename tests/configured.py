"""A place to load settings from, and what the user is told where that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hsmirror.errors import ConfigurationError, Exit
from hsmirror.settings import Settings, load

KEY = "hst_test_" + "k3y" * 21 + "k"
"""The form of a key, and none."""

THREE_WAYS = ("HYPERSTUDY_API_KEY", "api.key_file", "api.key_command")


@dataclass(frozen=True)
class Place:
    """A working folder and a user's configuration folder, to load from."""

    cwd: Path
    user: Path

    def load(
        self,
        text: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        config: Path | None = None,
    ) -> Settings:
        """The settings where `text`, if any, is ./hsmirror.toml."""
        if text is not None:
            content = text if isinstance(text, bytes) else text.encode()
            (self.cwd / "hsmirror.toml").write_bytes(content)
        return load(
            config=config,
            environ=environ or {},
            overrides=overrides or {},
            cwd=self.cwd,
            user_config_dir=self.user,
        )

    def fault(self, *arguments: Any, **named: Any) -> str:
        """What the user is told."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(*arguments, **named)
        assert caught.value.exit_status is Exit.USAGE
        return str(caught.value)


def new_place(folder: Path) -> Place:
    (folder / "cwd").mkdir()
    (folder / "user").mkdir()
    return Place(folder / "cwd", folder / "user")
