"""The back-off of everything that asks again, for the store and for endpoints alike: exponential, bounded, spread."""

from __future__ import annotations

import random

_rng = random.SystemRandom()


def delay(attempt: int, base: float, cap: float) -> float:
    """Seconds to wait after try `attempt` (from 0): uniform in half to all of min(cap, base * 2^attempt).

    The lower half is left out so that a run of small draws cannot hammer a server that asked for rest.
    """
    return min(cap, base * 2.0 ** min(attempt, 30)) * (0.5 + 0.5 * _rng.random())
