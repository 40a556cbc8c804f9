from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Command
from hsmirror.cli import init as module
from hsmirror.errors import Exit
from hsmirror.settings import load


def loaded(path: Path) -> Any:
    return load(config=path, environ={}, cwd=path.parent, user_config_dir=path.parent / "none")


def test_what_is_written_is_commented_and_loads_with_the_answers_in_it(hsmirror: Command, home: Path) -> None:
    ended = hsmirror("init", "--archive", "there", "--experiment", "exp_1", "--experiment", "exp_2")

    settings = loaded(home / "hsmirror.toml")
    assert ended.status == 0
    assert settings.archive.path == home / "there"
    assert [each.id for each in settings.experiments] == ["exp_1", "exp_2"]
    assert "# What the API allows a key." in (home / "hsmirror.toml").read_text()
    assert "hsmirror doctor" in ended.out


def test_without_options_and_a_terminal_every_experiment_goes_to_archive(hsmirror: Command, home: Path) -> None:
    hsmirror("init")

    settings = loaded(home / "hsmirror.toml")
    assert settings.archive.path == home / "archive"
    assert [each.id for each in settings.experiments] == ["*"]


def test_a_configuration_that_is_there_is_not_written_over_without_force(hsmirror: Command, home: Path) -> None:
    (home / "hsmirror.toml").write_text("# mine\n")

    refused = hsmirror("init")
    kept = (home / "hsmirror.toml").read_text()
    forced = hsmirror("init", "--force")

    assert (refused.status, kept, forced.status) == (Exit.USAGE, "# mine\n", 0)
    assert "--force" in refused.err
    assert loaded(home / "hsmirror.toml").experiments


def test_config_says_where_it_is_written(hsmirror: Command, home: Path) -> None:
    ended = hsmirror("init", "-c", "other.toml", "--base-url", "https://dev.hyperstudy.io/api/v3", "--json")

    assert ended.document == {"config": str(home / "other.toml")}
    assert loaded(home / "other.toml").api.base_url == "https://dev.hyperstudy.io/api/v3"


def test_an_answer_that_cannot_be_meant_writes_nothing(hsmirror: Command, home: Path) -> None:
    ended = hsmirror("init", "--base-url", "ftp://example.org")

    assert ended.status == Exit.USAGE
    assert not (home / "hsmirror.toml").exists()


def test_a_folder_that_is_not_there_is_a_storage_error(hsmirror: Command) -> None:
    ended = hsmirror("init", "-c", "nowhere/hsmirror.toml")

    assert ended.status == Exit.STORAGE
    assert "nowhere" in ended.err


def test_ids_may_be_answered_with_commas_or_spaces_between() -> None:
    assert module._ids(" exp_1, exp_2  exp_3,") == ["exp_1", "exp_2", "exp_3"]


@pytest.mark.parametrize(
    ("typed", "archive", "ids"),
    [("\n\n", "archive", ["*"]), ("/data/x\nexp_1, exp_2\n", "/data/x", ["exp_1", "exp_2"])],
)
def test_on_a_terminal_it_asks_and_enter_takes_what_is_offered(
    home: Path, typed: str, archive: str, ids: list[str]
) -> None:
    text = _in_a_terminal(typed)

    settings = loaded(home / "hsmirror.toml")
    assert "Folder of the archive [archive]:" in text
    assert settings.archive.path == home / archive
    assert [each.id for each in settings.experiments] == ids


def _in_a_terminal(typed: str) -> str:
    """Everything that `hsmirror init` shows on a terminal where this is typed."""
    import os
    import pty
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    source = str(Path(sys.modules["hsmirror"].__file__ or "").parents[1])
    with subprocess.Popen(
        [sys.executable, "-m", "hsmirror", "init"],
        env=os.environ | {"PYTHONPATH": source},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        assert process.wait(60) == 0
    text = os.read(ours, 65536).decode()
    os.close(ours)
    return text
