"""The README and docs/, taken at their word: what they show is run, what they name exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from hsmirror.cli.main import main
from hsmirror.errors import Exit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
}
EVENTS = 720  # of the demo: 6 rooms with 120 each

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INVOCATION = re.compile(r"(?:^|[\s`/])hsmirror ((?:[a-z]+|'\*')[^\n`|#;)]*)")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def blocks(language: str, text: str = README) -> list[str]:
    return [code for found, code in _BLOCK.findall(text) if found == language]


def help_of(*command: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "hsmirror", *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """The help of each command by its name, as `hsmirror --help` lists them."""
    listed = re.findall(r"^│ ([a-z]+) ", help_of(), re.MULTILINE)
    return {name: help_of(name) for name in listed}


@dataclass(frozen=True)
class Demo:
    folder: Path
    output: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo's archive, as `archive`, in a folder of its own."""
    folder = tmp_path_factory.mktemp("reader")
    shown = subprocess.run(
        [sys.executable, "-m", "hsmirror", "demo", "--dir", str(folder / "archive"), "-q"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return Demo(folder, shown.stdout)


@pytest.fixture
def in_the_readers_folder(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(demo.folder)
    yield demo.folder


# --- reading snippets --------------------------------------------------------------------------------
def test_the_duckdb_lines_count_every_event_by_room(in_the_readers_folder: Path) -> None:
    (query,) = blocks("sql")
    result = duckdb.sql(query)
    assert result is not None
    rows = result.fetchall()
    assert sum(row[2] for row in rows) == EVENTS
    assert ("exp_research_001", "room_abc123") in {row[:2] for row in rows}


def test_the_pandas_lines_read_every_event(in_the_readers_folder: Path) -> None:
    events = run_python("pandas")["events"]
    assert isinstance(events, pd.DataFrame)
    assert (len(events), events["id"].nunique()) == (EVENTS, EVENTS)


def test_the_polars_lines_read_every_event(in_the_readers_folder: Path) -> None:
    events = run_python("polars")["events"]
    assert isinstance(events, pl.DataFrame)
    assert (events.height, events["id"].n_unique()) == (EVENTS, EVENTS)


def test_the_r_lines_read_every_event(in_the_readers_folder: Path) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    (code,) = blocks("r")
    counted = f'{code}\ncat("events:", nrow(events), length(unique(events$id)))\n'
    shown = subprocess.run(["Rscript", "-"], input=counted, capture_output=True, text=True, check=True)
    assert shown.stdout.endswith(f"events: {EVENTS} {EVENTS}")


def run_python(library: str) -> dict[str, object]:
    (code,) = (code for code in blocks("python") if f"import {library} as" in code or f", {library} as" in code)
    names: dict[str, object] = {}
    exec(compile(code, f"README.md: {library}", "exec"), names)
    return names


def test_the_archive_is_verified_by_hand_as_its_page_says(demo: Demo) -> None:
    (code,) = blocks("sh", PAGES["docs/archive.md"])
    archive = demo.folder / "archive"
    assert shell("sha256sum --quiet -c SHA256SUMS", archive) == ""
    assert shell(code, archive) == ""


def test_verifying_by_hand_finds_rows_that_changed(demo: Demo, tmp_path: Path) -> None:
    (code,) = blocks("sh", PAGES["docs/archive.md"])
    archive = tmp_path / "damaged"
    shutil.copytree(demo.folder / "archive", archive)
    shard = next(archive.glob("*/data_type=chat/*/*.ndjson.gz"))
    shell(f"echo '{{}}' | gzip -c >> '{shard}'", archive)
    path = shard.relative_to(archive).as_posix()
    assert shell(code, archive).splitlines() == [
        f"not the rows of the receipt: {path}",
        f"not the number of rows: {path}",
    ]


def shell(code: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


# --- what is shown -----------------------------------------------------------------------------------
def test_the_demos_output_is_what_the_readme_shows(demo: Demo) -> None:
    (shown,) = blocks("text")
    assert without_figures_that_vary(shown) == without_figures_that_vary(demo.output)


def without_figures_that_vary(output: str) -> list[str]:
    """The lines up to the verdict; how many bytes and seconds it took differs between machines."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    end = next(number for number, line in enumerate(lines) if line.startswith("Complete"))
    return [re.sub(r"[\d.]+ (s|kB)\b", r"… \1", line) for line in lines[: end + 1]]


def test_the_readme_lists_the_commands_that_there_are(commands: dict[str, str]) -> None:
    assert re.findall(r"^\| `hsmirror ([a-z]+)` \|", README, re.MULTILINE) == list(commands)


def test_the_readme_lists_the_exit_statuses_that_there_are() -> None:
    table = README[README.index("| exit status |") : README.index("## What is promised")]
    listed = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    assert [int(number) for cell in listed for number in cell.split(",")] == sorted(Exit)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_names_commands_and_options_that_there_are(
    page: str, commands: dict[str, str]
) -> None:
    for line in invocations(PAGES[page]):
        command = line.split()[0]
        assert command in commands, f"hsmirror {line}"
        offered = set(_OPTION.findall(commands[command]))
        assert {word.split("=")[0] for word in _OPTION.findall(line)} <= offered, f"hsmirror {line}"


def invocations(page: str) -> list[str]:
    """`sync '*' --archive archive` of every `hsmirror sync '*' --archive archive` in a page's code."""
    code = [text for _, text in _BLOCK.findall(page)]
    code += re.findall(r"`([^`\n]+)`", _BLOCK.sub("", page))
    lines = [line for text in code for line in _INVOCATION.findall(re.sub(r"#.*", "", text))]
    return [re.split(r" (?:&&|\\|) ", line.strip())[0] for line in lines]


def test_the_invocations_of_the_readme_are_found() -> None:
    """Lest the test above look at nothing."""
    assert {"sync '*' --archive archive", "sync --wait -q", "demo", "verify emotion-study"} <= set(
        invocations(README)
    )


def test_the_narrowing_options_of_a_table_cell_are_options_of_sync(commands: dict[str, str]) -> None:
    (cell,) = re.findall(r"^\| `hsmirror sync` \| (.*) \|$", README, re.MULTILINE)
    assert set(_OPTION.findall(cell)) <= set(_OPTION.findall(commands["sync"]))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_there_are(page: str) -> None:
    for target in _LINK.findall(_BLOCK.sub("", PAGES[page])):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- the commands that set up ------------------------------------------------------------------------
def test_ci_runs_the_readmes_own_test_command() -> None:
    (command,) = (code.strip() for code in blocks("sh") if "pytest" in code)
    script = (ROOT / ".ci" / "run").read_text()
    assert f'tests="{command}"' in script.splitlines()
    assert 'bash -euo pipefail -c "$tests"' in script.splitlines()


def test_each_set_up_is_one_line_that_starts_from_nothing() -> None:
    for word in ("hsmirror demo", "pytest"):
        (command,) = (code for code in blocks("sh") if f".venv/bin/{word}" in code)
        assert len(command.splitlines()) == 1
        assert shlex.split(command)[:4] == ["python3", "-m", "venv", ".venv"]


def test_the_nightly_configuration_is_one_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (toml,) = blocks("toml")
    (tmp_path / "hsmirror.toml").write_text(toml.replace("/lab/hyperstudy", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == Exit.USAGE
    assert "archive is not an archive" in capsys.readouterr().err.replace("\n", " ")
