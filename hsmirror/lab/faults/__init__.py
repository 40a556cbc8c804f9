"""Faults on request: every way known in which the API and its storage hosts go wrong, by name.

They are seeded, so that a run can be tried again, and compose: `lab_faults(["body-cut=0.3", "total-high"])`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from hsmirror.errors import UsageError
from hsmirror.lab.faults.addresses import ADDRESSES
from hsmirror.lab.faults.fault import Fault, Outcome, Strikes, merciful
from hsmirror.lab.faults.hooks import LabFaults
from hsmirror.lab.faults.http import HTTP
from hsmirror.lab.faults.moving import MOVING
from hsmirror.lab.faults.paging import PAGING
from hsmirror.lab.faults.rows import ROWS
from hsmirror.lab.faults.storage import STORAGE

__all__ = ["FAULTS", "Fault", "LabFaults", "Outcome", "lab_faults"]

_ALL = (*MOVING, *PAGING, *ROWS, *ADDRESSES, *STORAGE, *HTTP)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
"""Every fault by its name. Data move first and rows are edited last, so that damage to an answer is done to
the answer as it would have come."""


def lab_faults(wanted: Sequence[str], *, seed: int = 1) -> LabFaults:
    """These faults together, each as `NAME` or `NAME=RATE` (a share of the answers, up to 1).

    At a rate below 1 no request fails more than twice in a row, whatever faults are at work; at 1 it is not
    spared. The same seed makes the same decisions.

    Raises:
        UsageError: no such fault, or a rate that is none.
    """
    rates = dict(map(_parsed, wanted))
    faults = LabFaults(api=(merciful(),), storage=(merciful(),))
    for name, fault in reversed(FAULTS.items()):
        if name in rates:
            rate = rates[name] or fault.rate or 1.0
            made = fault.make(Strikes(name, seed, rate, faults.switch, faults.struck))
            if (made.adjustments and not made.api) or made.clock_ahead_seconds:
                faults.struck[name] = 1  # it has, before the first request
            faults = faults.joined(made)
    return faults


def _parsed(text: str) -> tuple[str, float | None]:
    name, has_rate, rate_text = text.partition("=")
    fault = FAULTS.get(name)
    if fault is None:
        near = difflib.get_close_matches(name, FAULTS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"the lab has no fault {name!r}{hint}: `hsmirror lab --list-faults` shows all")
    if not has_rate:
        return name, None
    if fault.rate is None:
        raise UsageError(f"the fault {name} holds all the time: it takes no rate")
    try:
        rate = float(rate_text)
    except ValueError:
        rate = -1.0
    if not 0 < rate <= 1:
        raise UsageError(f"{text}: the rate is a share of the answers, above 0 and up to 1")
    return name, rate
