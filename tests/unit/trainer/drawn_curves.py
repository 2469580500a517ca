"""Curves of trainings drawn by chance: healthy ones of the presets' sizes, and ones that fall apart at a known step.

Rates are those of the demo's own trainings: a problem is solved mostly always or never, so that .56 (reasoning) to .69
(agentic) of groups carry no advantage, and whether a trajectory runs into its token limit is the problem's, too.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from flywheel_api.results import CurvePoint


@dataclass(frozen=True)
class Size:
    """A training's batches, and how its healthy curve looks at first and at last."""

    groups: int
    samples: int
    steps: int
    problems: int
    right: float  # the mean over problems, at first
    apart: float  # a + b of the Beta that it is drawn from: near 0 where each is solved always or never
    cut: float  # trajectories at their token limit, at first
    form: float
    entropy: float


SIZES = {
    "demo, agentic": Size(2, 6, 6, 20, 0.25, 0.45, 0.35, 0.95, 0.4),
    "demo, reasoning": Size(4, 8, 16, 17, 0.12, 0.8, 0.4, 0.45, 2.5),
    "64 prompts": Size(64, 16, 60, 4000, 0.35, 1.0, 0.05, 0.9, 0.6),
}
HEALTHY = ("flat", "slow climb", "climb", "solved", "longer answers", "all or none")
FALLS = ("gibberish", "loops", "one answer", "no form", "echo")


@dataclass
class Policy:
    """What a step is drawn from."""

    gain: float = 0.0  # logits that every problem has become easier by
    left: float = 1.0  # of what it could
    cut: float = 0.0
    form: float = 1.0
    entropy: float = 1.0
    distinct: float = 0.9
    gradient: float = 1.0
    alike: float = 0.0  # of groups that do the same thing in every sample


def healthy(kind: str, size: Size, done: float, pace: float) -> Policy:
    """A policy that has done this part of its training, at a run's own `pace`."""
    top = {"flat": 0.0, "slow climb": 1.0, "climb": 3.0, "solved": 7.0, "longer answers": 2.0, "all or none": 3.0}[kind]
    grown = 0.0 if kind == "flat" else pace * min(1.0, done)
    return Policy(
        gain=top * grown,
        cut=size.cut + (0.25 if kind == "longer answers" else -size.cut * (kind != "flat")) * min(1.0, grown),
        form=size.form + (0.99 - size.form) * min(1.0, 2 * grown),
        entropy=size.entropy * math.exp(-2.5 * grown * (kind != "slow climb")),
        distinct=0.9 * math.exp(-1.2 * grown),
        gradient=1 + 3 * grown * (size.entropy > 1),
        alike=0.7 * min(1.0, grown) if kind == "all or none" else 0.0,
    )


def fallen(policy: Policy, kind: str, part: float) -> Policy:
    """The same policy when this part of its fall is done."""
    keep = 1 - part
    if kind == "gibberish":
        change = {"entropy": policy.entropy * (1 + 4 * part), "gradient": 1 + 9 * part, "form": policy.form * keep}
    elif kind == "loops":
        change = {"entropy": policy.entropy * max(0.05, keep), "cut": max(policy.cut, 0.95 * part), "alike": 0.9 * part}
    elif kind == "one answer":
        change = {"entropy": policy.entropy * max(0.05, keep), "distinct": 0.9 * max(0.04, keep), "alike": part}
    elif kind == "no form":
        change = {"form": policy.form * max(0.05, keep), "gradient": 1 + 4 * part}
    else:
        change = {"alike": min(0.9, 1.5 * part), "gradient": 1 + 9 * max(0.0, 2 * part - 1)}
    return replace(policy, left=max(0.02, keep), **change)


def drawn(seed: int, size: Size, kind: str, fall: str | None = None, at: int = 0, over: int = 2) -> list[CurvePoint]:
    """A training's curve; with `fall`, it falls apart from step `at` on, within `over` steps."""
    rng = random.Random(f"{seed} {size} {kind} {fall}")
    pool = [
        (rng.betavariate(size.right * size.apart, (1 - size.right) * size.apart), rng.betavariate(0.6, 1.0))
        for _ in range(size.problems)
    ]
    pace = rng.uniform(0.5, 1.5)
    points = []
    for step in range(1, size.steps + 1):
        policy = healthy(kind, size, step / size.steps, pace)
        if fall is not None and step >= at:
            policy = fallen(policy, fall, min(1.0, (step - at + 1) / over))
        points.append(_step(rng, size, policy, rng.sample(pool, min(size.groups, len(pool))), step))
    return points


def _step(rng: random.Random, size: Size, policy: Policy, problems: list[tuple[float, float]], step: int) -> CurvePoint:
    n, dead, spread, right, cut = size.samples, 0, 0.0, 0, 0
    for first, length in problems:
        odds = first / max(1e-9, 1 - first) * math.exp(policy.gain)
        share = policy.left * policy.form**0.5 * odds / (1 + odds)
        if rng.random() < policy.alike:
            hits = n * (rng.random() < share)
        else:
            hits = sum(rng.random() < share for _ in range(n))
        # the mean over problems is the policy's, a problem's own is mostly near 0 or 1
        long = length ** (0.6 / max(policy.cut, 1e-3) - 0.6) if policy.cut < 1 else 1.0
        cut += sum(rng.random() < long for _ in range(n))
        right += hits
        dead += hits in (0, n)
        spread += math.sqrt(hits * (n - hits) / n / max(1, n - 1))
    groups, of = len(problems), len(problems) * n
    learnt = dead < groups
    noise = 0.5 / math.sqrt(size.groups)
    form = sum(rng.random() < policy.form for _ in range(of)) / of
    return CurvePoint(
        step=step,
        reward=right / of,
        success=right / of,
        groups=groups,
        trajectories=of,
        zero_variance_groups=dead,
        form_only_groups=0,
        reward_spread=spread / groups,
        format_rate=form,
        truncated=cut / of,
        entropy=policy.entropy * rng.lognormvariate(0, noise) if learnt else None,
        grad_norm=policy.gradient * rng.lognormvariate(0, 0.2 + noise) if learnt else 0.0,
        distinct_answers=min(1.0, max(1 / of, policy.distinct * rng.lognormvariate(0, 0.3 * noise))),
    )
