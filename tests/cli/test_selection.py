from __future__ import annotations

import pytest

from hsmirror.cli.selection import Narrowing, select
from hsmirror.errors import UsageError
from hsmirror.settings import ExperimentSettings

NOW = 1_795_312_803.0  # 2026-11-22T02:00:03Z
ONE = ExperimentSettings(id="exp_1", data_types=("events",), files=False)
TWO = ExperimentSettings(id="exp_2")
EVERY = ExperimentSettings(id="*", files=False)


def chosen(
    *ids: str, configured: tuple[ExperimentSettings, ...] = (), **given: object
) -> list[ExperimentSettings]:
    return list(select(configured, ids, Narrowing(**given), now=NOW))  # type: ignore[arg-type]


def test_no_ids_choose_all_that_is_configured() -> None:
    assert chosen(configured=(ONE, TWO)) == [ONE, TWO]


def test_ids_narrow_what_is_configured_and_keep_its_settings() -> None:
    assert chosen("exp_1", configured=(ONE, TWO)) == [ONE]


def test_an_id_that_is_not_configured_has_the_defaults() -> None:
    assert chosen("exp_3", configured=(ONE, TWO)) == [ExperimentSettings(id="exp_3")]


def test_an_id_that_a_configured_star_covers_has_the_stars_settings() -> None:
    assert chosen("exp_3", configured=(ONE, EVERY)) == [ExperimentSettings(id="exp_3", files=False)]


def test_a_star_leaves_configured_experiments_their_settings_and_adds_other_ids() -> None:
    assert chosen("*", "exp_3", configured=(ONE,)) == [
        ONE,
        ExperimentSettings(id="*"),
        ExperimentSettings(id="exp_3"),
    ]


def test_an_id_given_twice_counts_once() -> None:
    assert chosen("exp_1", "exp_1") == [ExperimentSettings(id="exp_1")]


def test_neither_ids_nor_configured_experiments_is_an_error_that_says_both_ways() -> None:
    with pytest.raises(UsageError, match=r"hsmirror sync exp_research_001.*\[\[experiments\]\]"):
        chosen()


def test_an_empty_id_is_taken_for_a_variable_that_is_not_set() -> None:
    with pytest.raises(UsageError, match="not set"):
        chosen("")


def test_options_replace_what_is_configured_and_the_rest_stays() -> None:
    configured = ExperimentSettings(id="exp_1", rooms=("a", "b"), participants=("p",))

    (narrowed,) = chosen(configured=(configured,), room=("c",), type=("ratings/sparse",), no_files=True)

    assert narrowed == ExperimentSettings(
        id="exp_1", rooms=("c",), participants=("p",), data_types=("ratings/sparse",), files=False
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("3d", "2026-11-19T02:00:03Z"),
        ("1h30m", "2026-11-22T00:30:03Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        ("2026-11-20T03:00:00+02:00", "2026-11-20T01:00:00Z"),
    ],
)
def test_since_takes_a_date_a_time_or_how_long_ago(text: str, start: str) -> None:
    assert chosen("exp_1", since=text)[0].start_time == start


@pytest.mark.parametrize("text", ["yesterday", "", "3 days", "999999w", "2026-13-01"])
def test_a_time_that_is_none_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"--until .*ISO 8601"):
        chosen("exp_1", until=text)


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(UsageError, match="--until 4d is not after --since 3d"):
        chosen("exp_1", since="3d", until="4d")


def test_an_unknown_data_type_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean ratings/sparse"):
        chosen("exp_1", type=("rating/sparse",))
