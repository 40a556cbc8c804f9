"""How numbers, sizes, times and foreign texts are shown to people."""

from __future__ import annotations

from datetime import UTC, datetime

from hsmirror.errors import Exit

_SIZES = ("bytes", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """Text from outside as it may go to a terminal: control and formatting characters are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def number(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """`1 room`, `1,200 rooms`; `noun` takes an s."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def unfinished_removals(people: int) -> str:
    """What `status` and `verify` say of a `forget` that did not come to its end."""
    who = "1 person" if people == 1 else f"{people:,} people"
    return f"the removal of {who} is not finished: run hsmirror forget again, with the same --participant"


def size(size_bytes: float) -> str:
    """Decimal, as disks and networks are sold: `812 bytes`, `4.2 MB`, `1.07 TB`."""
    amount, unit = float(size_bytes), 0
    while amount >= 999.5 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1000, unit + 1
    if unit == 0:
        return f"{amount:.0f} {_SIZES[0]}"
    return f"{amount:.{0 if amount >= 99.5 else 1}f} {_SIZES[unit]}"


def duration(seconds: float) -> str:
    """At most two units: `0.8 s`, `42 s`, `3 min 20 s`, `5 h 07 min`, `2 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h"


def exit_words(status: int) -> str:
    """What an exit status stands for: `incomplete`, `key refused`."""
    names = {int(each): each.name.lower().replace("_", " ") for each in Exit}
    return names.get(status, f"status {status}")


def age(iso: str, now: float) -> str:
    """How long before `now` (epoch seconds) a time in ISO 8601 was: `3 h ago`; else the text."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return printable(iso)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = now - moment.timestamp()
    for unit_seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_seconds:
            return f"{seconds / unit_seconds:,.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if seconds >= 1 else "just now"


def local_time(iso: str) -> str:
    """A time in ISO 8601 as this machine's clock shows it: `2026-11-22 03:00`; the text if it is none."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return printable(iso)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
