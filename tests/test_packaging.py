"""What an installation relies on: pins, ranges, the entry point, and what goes into a distribution."""

from __future__ import annotations

import gc
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from hsmirror import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
PINNED = {canonicalize_name(pin.split("==")[0]): Version(pin.split("==")[1]) for pin in PINS if "==" in pin}
GROUPS: dict[str, list[str]] = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def test_each_line_of_the_constraints_is_one_plain_pin() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin)] == []
    assert len(PINNED) == len(PINS)


def test_the_constraints_say_where_nothing_comes_from() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|--|@|sha256", text)


@pytest.mark.parametrize("group", GROUPS)
def test_each_direct_dependency_is_pinned_within_its_range(group: str) -> None:
    for line in GROUPS[group]:
        requirement = Requirement(line)
        pin = PINNED.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin"
        assert pin in requirement.specifier, f"{requirement.name} is pinned at {pin}, outside its range"


def test_the_dependencies_of_dependencies_are_pinned_too() -> None:
    """As far as they are installed here, which is all that the tests need."""
    seen: set[str] = set()
    pending = [
        Requirement(line)
        for group, lines in GROUPS.items()
        if group in {"dependencies", "test"}
        for line in lines
    ]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        pending += [Requirement(line) for line in metadata.requires(name) or []]
    assert seen - PINNED.keys() == set()


def test_the_entry_point_is_a_function_that_gives_an_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hsmirror", "--version"])
    module, _, function = PROJECT["scripts"]["hsmirror"].partition(":")
    with garbage_collected_as_before():
        assert getattr(importlib.import_module(module), function)() == 0
    assert capsys.readouterr().out == f"hsmirror {__version__}\n"


@contextmanager
def garbage_collected_as_before() -> Iterator[None]:
    """And threads switched: what a process sets for itself is not for all other tests."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
        sys.setswitchinterval(interval)


def test_the_changelog_tells_of_this_version() -> None:
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_all_that_a_source_distribution_names_is_there() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    named = [*build["targets"]["sdist"]["include"], PROJECT["readme"], *PROJECT["license-files"]]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_package_claims_types_where_it_has_them() -> None:
    """PEP 561: type checkers see them only with `py.typed`."""
    assert ("Typing :: Typed" in PROJECT["classifiers"]) == (ROOT / "hsmirror" / "py.typed").exists()


def test_the_image_is_made_of_what_the_build_context_lets_in() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in copies for name in line.split()} == allowed
