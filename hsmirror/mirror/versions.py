"""Which rows that are held and rows that came are versions of one row. Pure.

An id tells a row only where it has one content on either side. Where it has several, it may be many people's,
or name something else than the row: then whose the row is tells it, too, and when it is from, and where that is
not enough, its content. A version that came takes the place of one that is held only if that is the same row:
the reading speaks for it, or both are from the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hsmirror.mirror.asked import Asked
from hsmirror.mirror.merge import Identity, content_digest

Rows = Callable[[], Iterable[bytes]]


def identity_between(held: Rows, came: Rows, asked: Asked) -> Identity:
    """What tells the rows of one room apart: an id, an id with its person or time, or the content alone."""
    ways = (asked.identity, asked.identity_of_person, asked.identity_of_time)
    shared: list[set[str]] = []

    def told(row: bytes) -> str | None:
        """By the first way by which no other row is called the same."""
        for way, names in zip(ways, shared, strict=False):
            if (name := way(row)) is not None and name not in names:
                return name
        return None

    for way in ways:

        def not_told_yet(row: bytes, way: Identity = way) -> str | None:
            return way(row) if told(row) is None else None

        shared.append(names := _several(held, came, asked, not_told_yet))
        if not names:
            break
    return told if shared[0] else asked.identity


def _several(held: Rows, came: Rows, asked: Asked, identity: Identity) -> set[str]:
    """The identities of rows that came which are those of several rows."""
    contents, several = _contents(came(), identity)
    held_contents, more = _contents(held(), identity, only=contents)
    changed = {name for name, content in held_contents.items() if contents[name] != content}
    if not asked.is_whole or several:
        several |= more
    changed = (changed | more) - several  # what else is held of an id that is one row's may be older versions
    return several | _of_different_rows(held(), came(), asked, identity, changed, more)


def _contents(
    rows: Iterable[bytes], identity: Identity, only: dict[str, bytes] | None = None
) -> tuple[dict[str, bytes], set[str]]:
    """A content of each identity, and which have several."""
    contents: dict[str, bytes] = {}
    several: set[str] = set()
    for row in rows:
        name = identity(row)
        if name is None or (only is not None and name not in only):
            continue
        if contents.setdefault(name, digest := content_digest(row)) != digest:
            several.add(name)
    return contents, several


def _of_different_rows(
    held: Iterable[bytes],
    came: Iterable[bytes],
    asked: Asked,
    identity: Identity,
    changed: set[str],
    shared: set[str],
) -> set[str]:
    """Those of `changed` whose two contents are not proven to be one row's.

    Where rows that are held share an id (`shared`), a list that lacks some of them does not tell whether those
    are older versions or other rows: whose they are, or when they are from, has to.
    """
    if not changed:
        return changed
    newer = {
        name: (asked.person(row), asked.times(row))
        for row in came
        if (name := identity(row)) in changed and name
    }
    different: set[str] = set()
    for row in held:
        if (name := identity(row)) is None or name not in changed:
            continue
        person, times = newer[name]
        are_known = None not in {person, held_person := asked.person(row)}
        is_same = times == asked.times(row) or asked.speaks_for(row)
        if name in shared and not are_known:
            is_same = bool(times) and times == asked.times(row)
        if are_known and person != held_person:
            # Somebody else's, unless a whole list shows that it was assigned to another person.
            is_same = is_same and not asked.is_narrow and bool(times) and times == asked.times(row)
        if not is_same:
            different.add(name)
    return different
