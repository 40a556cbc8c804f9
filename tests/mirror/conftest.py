"""Where shards grow, for tests of what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.shards import Form
from hsmirror.mirror.write import Staging


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path, tmp_path / "staging", Form("none"), Modes())
