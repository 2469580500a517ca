"""Importing this has verl's steps reported to the driver, of RL and of SFT.

verl's console lines carry no mark and cut what is NaN. The mark keeps a reward that prints the policy's answer from
reporting steps of its own (see `signals`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from verl.utils.tracking import Tracking

from flywheel_jobs.trainer import signals


def _reporting(log: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(log)
    def logged(self: Tracking, data: Mapping[str, Any], step: int, *rest: Any, **more: Any) -> None:
        log(self, data, step, *rest, **more)
        signals.emit(signals.Stepped(step=int(step), numbers=_numbers(data)))

    return logged


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in data.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):
            continue
    return found


Tracking.log = _reporting(Tracking.log)
