"""Which file is next."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.download_queue import DownloadQueue
from hsmirror.pace.downloads import AddressLife

NOW = 10_000.0
PLENTY, NEXT_TO_NOTHING = 1e12, 1e-3
"""Bytes a second."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class File:
    """What a test lines up."""

    name: str
    size_bytes: int | None = 1000
    lives_seconds: float | None = 3600.0
    """None: its address is minted."""


def queue_of(*files: File) -> DownloadQueue[File]:
    queue: DownloadQueue[File] = DownloadQueue()
    for file in files:
        life = None if file.lives_seconds is None else AddressLife(NOW, NOW + file.lives_seconds)
        queue.add(file, life, source=file.name, size_bytes=file.size_bytes)
    return queue


def taken(queue: DownloadQueue[File], *, at: float = NOW, bytes_per_second: float = PLENTY) -> str:
    """The names of all that is left, in the order in which they go."""
    names = []
    while (file := queue.take(at, bytes_per_second=bytes_per_second)) is not None:
        names.append(file.name)
    assert len(queue) == 0
    return " ".join(names)


def test_as_long_as_all_addresses_last_large_ones_go_first_and_small_ones_between() -> None:
    files = [File(name, size) for name, size in zip("abcde", (10, 1000, 20, 500, 30), strict=True)]
    assert taken(queue_of(*files)) == "b a c e d"


def test_where_not_all_addresses_last_the_first_to_expire_goes_first() -> None:
    queue = queue_of(File("a", 10, 300), File("b", 1000, 200), File("c", 20, 100))
    assert taken(queue, bytes_per_second=NEXT_TO_NOTHING) == "c b a"


def test_what_expires_together_goes_in_the_order_of_its_list() -> None:
    queue = queue_of(*(File(name, size) for name, size in zip("abc", (10, 1000, 20), strict=True)))
    assert taken(queue, bytes_per_second=NEXT_TO_NOTHING) == "a b c"


def test_what_has_expired_goes_after_what_lives_in_the_order_of_its_list() -> None:
    queue = queue_of(File("a", 10, 60), File("b", 1000, 30), File("c", 20, 3600), File("d", 5, 60))
    assert taken(queue, at=NOW + 100) == "c a b d"


def test_what_is_minted_goes_last() -> None:
    queue = queue_of(File("minted", 10, None), File("expired", 10, 60), File("living", 10, 3600))
    assert taken(queue, at=NOW + 100) == "living expired minted"


def test_what_is_renewed_lives_again() -> None:
    queue = queue_of(File("a", 10, 60), File("b", 10, 60), File("c", 10, 60))
    assert queue.take(NOW + 100, bytes_per_second=PLENTY) == File("a", 10, 60)
    queue.renewed("c", AddressLife(NOW + 100, NOW + 160), now=NOW + 100)
    assert taken(queue, at=NOW + 101) == "c b"


def test_a_renewed_address_expires_in_its_turn() -> None:
    queue = queue_of(File("a", 10, 60), File("b", 10, 60))
    assert len(queue) == 2
    queue.renewed("b", AddressLife(NOW, NOW + 9000), now=NOW)  # which had not expired: it says nothing new
    assert queue.take(NOW + 100, bytes_per_second=PLENTY) == File("a", 10, 60)
    queue.renewed("b", AddressLife(NOW + 100, NOW + 160), now=NOW + 100)
    assert taken(queue, at=NOW + 500) == "b"
    queue.renewed("b", AddressLife(NOW + 500, NOW + 560), now=NOW + 500)
    assert queue.take(NOW + 501, bytes_per_second=PLENTY) is None


def test_a_new_address_counts_even_before_anything_was_taken_since_the_old_one_expired() -> None:
    queue = queue_of(File("old", 10, 10), File("x", 10, 3600))
    queue.renewed("old", AddressLife(NOW + 20, NOW + 60), now=NOW + 20)
    assert queue.take(NOW + 20, bytes_per_second=NEXT_TO_NOTHING) == File("old", 10, 10)


def test_what_was_taken_is_no_longer_held() -> None:
    queue = queue_of(*(File(str(number), number, 3600) for number in range(100)))
    taken_weakly = []
    for _ in range(90):
        file = queue.take(NOW, bytes_per_second=PLENTY)
        assert file is not None
        taken_weakly.append(weakref.ref(file))
        del file
    assert [each() for each in taken_weakly] == [None] * 90


def test_a_file_of_unknown_size_is_among_the_small_ones() -> None:
    assert taken(queue_of(File("a", 1000), File("unknown", None), File("b", 1000))) == "b unknown a"


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 9), st.none() | st.sampled_from([0.5, 30.0, 60.0])), max_size=20
    ),
    st.sampled_from([0.0, 40.0, 100.0]),
    st.sampled_from([NEXT_TO_NOTHING, 1.0, PLENTY]),
)
def test_every_file_is_given_once(
    files: list[tuple[int | None, float | None]], later: float, bytes_per_second: float
) -> None:
    queue = queue_of(*(File(str(number), *file) for number, file in enumerate(files)))
    names = taken(queue, at=NOW + later, bytes_per_second=bytes_per_second).split()
    assert sorted(names, key=int) == [str(number) for number in range(len(files))]
