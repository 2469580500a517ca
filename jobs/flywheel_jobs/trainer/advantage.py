"""Group-relative advantages that leave masked trajectories out (law 6). numpy only; verl's adapter is in `verl_hooks`.

For the valid rewards r of a group: A = (r - mean) / (std + 1e-6) with the unbiased standard deviation, as in GRPO
(arXiv 2402.03300) and verl. A masked trajectory (an outage of the environment or judge, not a failure of the policy)
counts in neither mean nor std and gets A = 0. A group without variance gives A = 0 everywhere and is reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel_jobs.trainer.signals import Groups

EPSILON = 1e-6


class Normalise(StrEnum):
    """By what centred rewards are divided: the group's standard deviation, the whole batch's, or nothing."""

    GROUP = "Group"
    BATCH = "Batch"
    NONE = "None"


def group_advantages(
    rewards: NDArray[np.floating],
    groups: Sequence[Hashable],
    valid: NDArray[np.bool_],
    normalise: Normalise = Normalise.GROUP,
    format_bonus: float = 0.0,
) -> tuple[NDArray[np.float64], Groups]:
    """Advantages of shape (n,) for rewards of shape (n,), the group of each row, and which rows count.

    Without normalisation this is Dr. GRPO (arXiv 2503.20783). A group of one row keeps its reward as advantage (mean 0,
    std 1), as in verl; a larger group with a single valid row left gets 0: there is nothing to compare it with. A group
    in which nothing is worth more than `format_bonus` differs by form only: it gets 0 as well, and is told apart.
    """
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows[group].append(row)
    out = np.zeros(len(groups), dtype=np.float64)
    flat, formal, spreads = 0, 0, list[float]()
    live: list[int] = []
    for members in rows.values():
        kept = [row for row in members if valid[row]]
        values = np.asarray([rewards[row] for row in kept], dtype=np.float64)
        if len(members) == 1:
            out[kept] = values
            continue
        spreads.append(float(values.std(ddof=1)) if len(kept) > 1 else 0.0)
        if len(kept) < 2 or np.ptp(values) == 0.0:
            flat += 1
            continue
        if format_bonus > 0 and values.min() >= 0 and values.max() <= format_bonus * (1 + EPSILON):
            formal += 1
            continue
        centred = values - values.mean()
        out[kept] = centred / (values.std(ddof=1) + EPSILON) if normalise is Normalise.GROUP else centred
        live += kept
    if normalise is Normalise.BATCH and len(live) > 1:
        out[live] /= out[live].std(ddof=1) + EPSILON
    return out, Groups(
        groups=len(rows),
        zero_variance=flat,
        form_only=formal,
        masked=int((~valid).sum()),
        spread=float(np.mean(spreads)) if spreads else None,
    )
