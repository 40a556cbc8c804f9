"""The example configuration, held against the code both ways."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from configured import Place, new_place

from hsmirror.errors import ConfigurationError
from hsmirror.settings import (
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    MonitorSettings,
)
from hsmirror.settings.example import example

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
    "monitor": MonitorSettings,
}
KEYS = sorted(f"{table}.{name}" for table in SECTIONS for name in SECTIONS[table].__struct_fields__)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path)


def uncommented(text: str) -> str:
    """`text` with the keys in force that stand there after `#` alone."""
    return re.sub("^#(?=[a-z])", "", text, flags=re.MULTILINE)


def test_the_example_in_the_repository_is_the_one_that_init_writes() -> None:
    assert (Path(__file__).parents[2] / "config.example.toml").read_text(encoding="utf-8") == example()


def test_the_example_holds_every_key_with_its_default_and_no_other() -> None:
    def as_written(section: msgspec.Struct) -> dict[str, object]:
        fields = msgspec.to_builtins(section, enc_hook=str)
        lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
        return {name: "" if value is None else value for name, value in fields.items()} | lists

    assert tomllib.loads(uncommented(example())) == {
        "api": as_written(ApiSettings()),
        "limits": as_written(LimitSettings()),
        "archive": as_written(ArchiveSettings()),
        "monitor": as_written(MonitorSettings()),
        "experiments": [as_written(ExperimentSettings(id="exp_research_001"))],
    }


def test_every_key_of_the_example_has_a_comment_of_one_line() -> None:
    lines = example().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match("#?[a-z_]+ = ", line)]
    assert len(keys) == len(KEYS) + len(ExperimentSettings.__struct_fields__)
    for number in keys:
        assert re.match("# [A-Z].*[.]$", lines[number - 1])
        assert not lines[number - 2].startswith("# ")


def test_the_example_loads_to_the_defaults(place: Place) -> None:
    loaded = place.load(example())
    assert loaded == msgspec.structs.replace(
        place.load(""), experiments=(ExperimentSettings(id="exp_research_001"),)
    )
    assert place.load(uncommented(example())) == loaded


def test_the_example_takes_answers_which_load_again(place: Place) -> None:
    text = example(
        {"archive.path": '/data/"lab" 🧠\x7f', "limits.share": 0.5, "experiments": ["exp_1", "exp\\2"]}
    )
    settings = place.load(text)
    assert settings.archive.path == Path('/data/"lab" 🧠\x7f')
    assert settings.limits.share == 0.5
    assert [experiment.id for experiment in settings.experiments] == ["exp_1", "exp\\2"]
    with pytest.raises(ConfigurationError, match=r"archive\.path"):
        example({"archive.paht": "x"})
