"""Every fault of the catalogue in docs/faults.md has a row there, and tests where the row says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FAULTS = range(1, 121)
NUMBERED = range(1, 66)
"""Those with a test in this folder that carries the number; tests of others may have names of their own."""
_FOLDER = Path(__file__).parent
_CATALOGUE = _FOLDER.parents[1] / "docs" / "faults.md"
_ROW = re.compile(r"\| (\d+) \|([^|]+)\|([^|]+)\|([^|]+)\|")


def named_by_file() -> dict[str, set[str]]:
    """The names of the test functions of this folder."""
    return {
        path.name: {
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        }
        for path in _FOLDER.glob("test_*.py")
    }


def rows() -> dict[int, tuple[str, str, str]]:
    """What goes wrong, what is done about it, and which file tests it, by the fault's number."""
    found = [match for line in _CATALOGUE.read_text().splitlines() if (match := _ROW.match(line))]
    assert len({match[1] for match in found}) == len(found), "a number stands there twice"
    return {int(match[1]): (match[2].strip(), match[3].strip(), match[4].strip()) for match in found}


def test_the_catalogue_is_complete() -> None:
    assert sorted(rows()) == list(FAULTS)
    assert all(all(texts) for texts in rows().values())


@pytest.mark.parametrize("number", NUMBERED)
def test_each_fault_has_a_test_where_its_row_says(number: int) -> None:
    named = re.fullmatch(r"`(test_\w+\.py)`", rows()[number][2])
    assert named is not None
    assert [name for name in named_by_file()[named[1]] if name.startswith(f"test_fault_{number:02d}_")]


def test_the_tests_of_all_others_are_where_their_rows_say() -> None:
    tests = {path.relative_to(_FOLDER.parent).as_posix(): path.read_text() for path in _tests()}
    for number, (_, _, named) in rows().items():
        places = [each if "/" in each else f"faults/{each}" for each in re.findall(r"`([\w/]+\.py)`", named)]
        carrying = {name for name, text in tests.items() if f"def test_fault_{number:02d}_" in text}
        assert set(places) <= tests.keys(), number
        assert number in NUMBERED or carrying <= set(places), f"{number}: {carrying}"
        assert bool(places) != (named == "not yet"), number


def _tests() -> list[Path]:
    return sorted(_FOLDER.parent.rglob("test_*.py"))
