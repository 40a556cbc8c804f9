"""Changes to rows as they are made, before anything else sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.row import Row

Alteration: TypeAlias = Callable[[RoomPlan, str, Sequence[Row]], Sequence[Row]]
"""A room's rows of one data type → as they are to be. The same for the same rows, since they are made anew."""
