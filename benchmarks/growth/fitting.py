"""How a cost grows: the power of the size that fits what it costs beyond nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from math import log


def exponent(sizes: Sequence[float], costs: Sequence[float], *, at_nothing: float) -> float | None:
    """The slope of the costs beyond `at_nothing` over the sizes, both as logarithms: 1 is linear.

    None where fewer than two sizes cost a tenth more than nothing does: there is no growth to speak of.
    """
    points = [
        (log(size), log(cost - at_nothing))
        for size, cost in zip(sizes, costs, strict=True)
        if cost > 1.1 * at_nothing
    ]
    if len(points) < 2:
        return None
    middle = sum(x for x, _ in points) / len(points)
    height = sum(y for _, y in points) / len(points)
    return sum((x - middle) * (y - height) for x, y in points) / sum((x - middle) ** 2 for x, _ in points)
