"""The API key: where it may come from, and that no error shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from configured import KEY, THREE_WAYS

from hsmirror.errors import ConfigurationError
from hsmirror.model import Secret
from hsmirror.settings import (
    ApiSettings,
    Settings,
)
from hsmirror.settings.credentials import api_key


def key_fault(settings: ApiSettings, environ: Mapping[str, str], **named: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        api_key(Settings(api=settings), environ, **named)
    return str(caught.value)


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key file"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def printing(output: bytes, status: int = 0) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """A `subprocess.run` whose command prints `output`."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, status, stdout=output)

    return run


def test_the_key_of_the_environment_comes_first(tmp_path: Path) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, b"of-the-file"), key_command="false")
    assert api_key(Settings(api=api), {"HYPERSTUDY_API_KEY": f" {KEY}\n"}) == Secret(KEY)


@pytest.mark.parametrize("environ", [{}, {"HYPERSTUDY_API_KEY": " "}])
def test_the_key_file_comes_before_the_command(tmp_path: Path, environ: dict[str, str]) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, f"{KEY}\r\n".encode()), key_command="false")
    assert api_key(Settings(api=api), environ) == Secret(KEY)


def test_the_command_runs_without_a_shell_and_its_output_is_the_key() -> None:
    command = f"""'{sys.executable}' -c "print('  $HOME;' + __import__('os').environ['PART'])" """
    settings = Settings(api=ApiSettings(key_command=command))
    assert api_key(settings, {"PART": "rest"}) == Secret("$HOME;rest")


def test_without_a_key_the_three_ways_are_named() -> None:
    fault = key_fault(ApiSettings(), {})
    assert all(way in fault for way in THREE_WAYS)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_key_file_for_the_owner_or_the_group_is_read(tmp_path: Path, mode: int) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, KEY.encode(), mode))
    assert api_key(Settings(api=api), {}) == Secret(KEY)


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o602])
def test_a_key_file_of_ours_that_is_open_to_the_world_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, KEY.encode(), mode)
    fault = key_fault(ApiSettings(key_file=path), {})
    assert f"chmod 600 '{path}'" in fault
    assert KEY not in fault


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_key_file_of_another_owner_is_read_though_the_world_may_read_it(tmp_path: Path) -> None:
    """So Kubernetes mounts secrets: symbolic links to files of root, 0644, for a process that is not root."""
    path = key_file(tmp_path, KEY.encode(), 0o644)
    os.chown(path, 65534, 65534)
    (tmp_path / "mounted").symlink_to(path)
    assert api_key(Settings(api=ApiSettings(key_file=tmp_path / "mounted")), {}) == Secret(KEY)


def test_a_key_file_on_a_read_only_file_system_is_read_though_the_world_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So Docker mounts secrets for a process of root."""
    path = key_file(tmp_path, KEY.encode(), 0o444)
    read_only = os.statvfs_result((*os.statvfs(path)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: read_only)
    assert api_key(Settings(api=ApiSettings(key_file=path)), {}) == Secret(KEY)


def test_a_key_file_that_is_missing_is_an_error_even_where_a_command_is_set(tmp_path: Path) -> None:
    fault = key_fault(ApiSettings(key_file=tmp_path / "gone", key_command="echo x"), {})
    assert "gone" in fault
    assert "No such file or directory" in fault


def test_an_empty_key_file_is_an_error(tmp_path: Path) -> None:
    assert "there is no API key in it" in key_fault(ApiSettings(key_file=key_file(tmp_path, b" \n")), {})


@pytest.mark.parametrize(
    "content", [b"hst_test_a b", b"hst_test_a\nb", "hst_test_ä".encode(), b"hst_test_\0", b"k" * 5000]
)
def test_what_cannot_be_a_key_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    faults = [
        key_fault(ApiSettings(key_file=key_file(tmp_path, content)), {}),
        key_fault(ApiSettings(key_command="show"), {}, run=printing(content)),
        key_fault(ApiSettings(), {"HYPERSTUDY_API_KEY": content.decode("latin-1")}),
    ]
    for fault in faults:
        assert "is no API key" in fault
        assert "hst_test_" not in fault
        assert "kkk" not in fault


def test_a_command_that_fails_is_told_by_its_status_alone() -> None:
    fault = key_fault(ApiSettings(key_command="show s3cret"), {}, run=printing(b"s3cret", status=3))
    assert "status 3" in fault
    assert "s3cret" not in fault


def test_a_command_that_does_not_exist_is_told_without_its_arguments() -> None:
    fault = key_fault(ApiSettings(key_command="/nowhere/show s3cret"), {})
    assert "No such file or directory" in fault
    assert "s3cret" not in fault


def test_a_command_has_thirty_seconds() -> None:
    def run(command: list[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[bytes]:
        raise subprocess.TimeoutExpired(command, timeout, output=b"s3cret")

    with pytest.raises(ConfigurationError, match="longer than 30 s") as caught:
        api_key(Settings(api=ApiSettings(key_command="show s3cret")), {}, run=run)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
