"""Worlds, drawn: rows, a server with one or two oddities, nights, and what changes meanwhile and between."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from reliability.worlds_servers import WARNINGS, Oddities
from reliability.worlds_truth import DAY, HOUR, Manners, told

CHANGES = ("add", "late", "late", "delete", "edit", "reorder", "move", "rename", "merge", "open", "end")
_GROWTH = {"add", "late", "edit", "open", "end"}
"""Changes after which a good server is still complete: nothing goes."""

_TYPES = ("events", "chat", "ratings/sparse", "sync", "components", "variables", "agent-runs")
_SIGNED = {"right", "ahead", "text"}
"""Totals that show that rows are lacking."""


@dataclass(slots=True)
class Night:
    """A run, and what goes on around it. `narrow`: to `rooms`, `people` or a `window` of time."""

    hours_later: float = 24.0
    full: bool = False
    narrow: str = ""
    changes_before: int = 0
    changes_meanwhile: int = 0
    trouble: bool = False
    unlisted: bool = False
    """An experiment has left the list of experiments."""
    emptied: bool = False
    """A list comes empty that was full."""


@dataclass(slots=True)
class World:
    """Everything that a seed stands for."""

    seed: int
    manners: Manners
    oddities: Oddities
    nights: list[Night]
    experiments: int = 0
    """0: one, and it is named; otherwise all are asked for."""
    stirs: tuple[str, ...] = CHANGES
    """What may happen, if anything does."""
    asks_for_all_types: bool = False
    traits: list[str] = field(default_factory=list)
    """The kinds of world that it belongs to."""

    def told(self) -> str:
        parts = (", ".join(self.traits) or "calm", told(self.oddities), told(self.manners))
        return " | ".join((*parts, *(told(night) for night in self.nights)))

    @property
    def is_good(self) -> bool:
        """Nothing in it keeps a run from being complete."""
        odd, manners = self.oddities, self.manners
        harmless = {f.name for f in fields(Oddities)} - set(_HARMFUL)
        is_plain = all(getattr(odd, f.name) == f.default for f in fields(Oddities) if f.name not in harmless)
        is_plain &= odd.total in {"right", "absent", "text", "null"} and odd.shape in {"nested", "flat"}
        is_plain &= "rooms" not in odd.absent and not manners.shared_ids and not manners.partly_without_ids
        grows = set(self.stirs) <= _GROWTH
        return is_plain and not any(
            night.narrow or night.trouble or night.unlisted or night.emptied or night.changes_meanwhile
            or (night.changes_before and not grows)
            for night in self.nights
        )  # fmt: skip


_HARMFUL = (
    "ties", "refuses_larger", "offset_window", "cap", "paging", "ghosts", "has_more", "pages_the_unpaged",
    "empty_is_404", "stirs_experiments", "room_lists_have_others", "hides", "cache_seconds",
)  # fmt: skip
"""What may keep a run from being complete, without being wrong for that."""

_SMALL, _EITHER = (3, 4, 5, 8), (True, False)

TRAITS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ties": {
        "ties": ("by page", "random"),
        "tick_seconds": (10 * DAY, 60 * DAY),
        "twins": (0,),  # rows alike to the byte among them would make nothing provable
        "grants": _SMALL,
        "honours_sort": _EITHER,
    },
    "ordered by change": {"order_by": ("change",), "grants": _SMALL},
    "page limits": {"grants": _SMALL, "names_limit": _EITHER, "refuses_larger": (0, 400, 413, 422)},
    "offset window": {"grants": (3, 5), "offset_window": (4, 7, 10, -7, -10)},
    "capped": {"grants": (3, 5), "cap": (4, 7, 10)},
    "other paging": {
        "paging": ("cursor", "token", "page", "links", "next", "header"),
        "grants": _SMALL,
        "total": ("right", "absent"),
        "has_more": ("right", "absent"),
    },
    "filtered pages": {
        "ghosts": ((0,), (3, 4, 5), (0, 1, 2, 3, 4, 5, 6, 7), tuple(range(6, 18)), (1, 4, 7, 10)),
        "grants": _SMALL,
        "total": ("absent", "absent", "right"),
    },
    "hasMore": {"has_more": ("absent", "early", "forever", "text"), "grants": _SMALL},
    "totals": {"total": ("absent", "constant", "ahead", "text", "null", "page")},
    "shape": {"shape": ("flat", "flat", "none", "bare"), "next_offset": ("right", "absent", "null", "text")},
    "unpaged types paged": {
        "pages_the_unpaged": (True,),
        "grants": (3, 5),
        "total": ("right", "absent"),
        "kinds": (("rooms", "variables", "agent-runs"),),
    },
    "absent types": {
        "absent": (("participants",), ("rooms",), ("rooms", "deployments"), ("variables", "agent-runs")),
        "empty_is_404": _EITHER,
    },
    "rooms from sessions": {
        "absent": (("rooms",),),
        "deployments": (1, 2, 6),
        "pages_the_unpaged": _EITHER,
        "grants": (3, 5),
    },
    "empty is 404": {"empty_is_404": (True,), "kinds": (("variables", "events"), ("rooms", "variables"))},
    "lists with others' rows": {"ignores_room_of_participant": _EITHER, "room_lists_have_others": _EITHER},
    "shared ids": {"shared_ids": (True,)},
    "some without ids": {"partly_without_ids": (_TYPES,)},
    "warnings": {"hides": _TYPES, "warning": WARNINGS, "warns_on": ("every page", "last page")},
    "cache": {
        "cache_seconds": (HOUR, 2 * DAY, 60 * DAY),
        "cache": ("honours", "honours silently", "tells"),
        "nights": (({}, {"changes_before": 3}),),
    },
    "clock": {"skew_seconds": (-3 * DAY, -600.0, 600.0, 5 * HOUR, 3 * DAY)},
    "changes meanwhile": {
        "stirs": (),
        "each": ({"changes_meanwhile": 1}, {"changes_meanwhile": 4}),
        "grants": _SMALL,
    },
    "changes between": {"stirs": (), "nights": (({"changes_before": 1}, {"changes_before": 4}),)},
    "changes between, at length": {
        "stirs": (),
        "nights": (({"changes_before": 2, "hours_later": 49}, {"changes_before": 2}, {"full": True}),),
    },
    "trouble": {
        "trouble": ("another answer", "html 200", "html 403", "html 404", "500", "cut"),
        "trouble_share": (0.1, 0.3, 1.0),
        "trouble_kind": ("rooms", "participants", "experiments", "deployments", "", *_TYPES),
        "nights": (({"trouble": True}, {"changes_before": 2}), ({"changes_before": 2, "trouble": True}, {})),
    },
    "emptied": {"emptied_as": (0, 0, 403, 404), "nights": (({"emptied": True}, {"changes_before": 1}),)},
    "narrowed": {
        "inclusive_start": _EITHER,
        "inclusive_end": _EITHER,
        "each": tuple({"narrow": what} for what in ("rooms", "people", "window", "window")),
        "nights": (({"narrow": "window", "changes_before": 1}, {}), ({"narrow": "rooms"},), ()),
    },
    "all types": {"asks_for_all_types": (True,)},
    "all experiments": {
        "experiments": (1, 2, 4),
        "experiments_a_page": (2, 3, 50),
        "shares": _EITHER,
        "stirs_experiments": (0, 0, 1, 2),
        "nights": (({"unlisted": True}, {}), ({},)),
    },
}
"""What each kind of world differs in, and what is chosen from. `each`: what befalls all nights so far, `nights`
those that come behind them; of `stirs`, one kind of change or all."""


def draw(seed: int) -> World:
    """The world of a seed."""
    chance = Random(f"world/{seed}")
    kinds = (*(kind for kind in ("rooms", "participants") if chance.random() < 0.7),)
    manners = Manners((*kinds, *chance.sample(_TYPES, chance.randint(1, 3))), rooms=chance.choice((1, 2, 3, 5)))
    manners.tick_seconds = chance.choice((0.001, 0.001, 10 * DAY, 60 * DAY))
    manners.twins = chance.choice((0, 0, 0.3))
    manners.homeless = chance.choice((0, 0, 0, 0.2))
    manners.names_sessions = chance.random() < 0.2
    of_rooms = [kind for kind in manners.kinds if kind not in {"rooms", "agent-runs", "variables"}]
    manners.silent_kinds += tuple(kind for kind in of_rooms if chance.random() < 0.2)
    hours = [chance.choice((1, 24, 24, 49, 24 * 31)) for _ in range(chance.choice((1, 1, 2)))]
    odd = Oddities(grants=chance.choice((*_SMALL, 12, 1000, 1000)))
    world = World(seed, manners, odd, [Night(hour) for hour in hours])
    for trait in chance.sample(sorted(TRAITS), chance.choice((0, 1, 1, 1, 2, 2, 3))):
        world.traits.append(trait)
        for name, choices in TRAITS[trait].items():
            _apply(world, chance, name, choices)
    _keep_honest(world)
    return world


def _apply(world: World, chance: Random, name: str, choices: tuple[Any, ...]) -> None:
    odd, manners = world.oddities, world.manners
    match name:
        case "nights":
            world.nights += [Night(**night) for night in chance.choice(choices)]
        case "each":
            for night in world.nights:
                for key, value in chance.choice(choices).items():
                    setattr(night, key, value)
        case "stirs":
            world.stirs = (chance.choice(CHANGES),) if chance.random() < 0.6 else CHANGES
        case "kinds":
            manners.kinds = tuple(dict.fromkeys((*manners.kinds, *chance.choice(choices))))
        case "hides":
            odd.hides = chance.choice([kind for kind in choices if kind in manners.kinds] or ["rooms"])
        case "cache":
            how = chance.choice(choices)
            odd.cache_honours_no_cache, odd.cache_tells_age = how != "tells", how != "honours silently"
        case _:
            target = next(each for each in (odd, manners, world) if hasattr(each, name))
            setattr(target, name, chance.choice(choices))


def _keep_honest(world: World) -> None:
    """Oddities that together would leave no sign of what is not there, nor a way to it, give way."""
    odd, manners = world.oddities, world.manners
    leads_on = odd.paging not in {"offset", "page"}
    if odd.shape in {"none", "bare"} and (leads_on or odd.ghosts or odd.cap or odd.trouble == "another answer"):
        odd.shape = "nested"
    if odd.shape in {
        "none",
        "bare",
    }:  # a list thought to be unpaged that says nothing of pages is taken for whole
        odd.pages_the_unpaged = False
    if odd.cap and odd.total not in _SIGNED:
        odd.total = "right"
    is_lost = odd.has_more == "early" and odd.total not in _SIGNED
    is_lost |= odd.has_more == "absent" and odd.total in {"constant", "page"}
    is_lost |= odd.has_more == "absent" and bool(odd.ghosts) and odd.next_offset == "absent" and not leads_on
    if is_lost:
        odd.has_more = "right"
    if "rooms" in odd.absent and "deployments" in odd.absent and set(manners.silent_kinds) & set(manners.kinds):
        odd.absent = ("rooms",)
    if odd.ignores_room_of_participant:
        manners.homeless = 0.0
    if odd.ties != "stable":
        manners.twins = 0
    for night in world.nights:
        if odd.cap or odd.total == "ahead":  # a total that stays ahead for two days is taken for wrong
            night.hours_later = 1
        if night.emptied:  # of what came just now, an empty list says nothing
            night.full, night.changes_before, night.changes_meanwhile = False, 0, 0
