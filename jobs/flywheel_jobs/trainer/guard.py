"""The collapse guard: what a curve says when a small model falls apart, while there is still a good checkpoint.

In runs that collapsed the spread of rewards within groups fell first, then their mean, then the norm of the gradient
spiked (RAGEN, arXiv 2504.20073). One sign alone is weather; two together are a suspicion. A policy that solves its
tasks shows the first signs too (rewards are all 1), so they count only where the reward is not at a high; so does one
that has never been right, where one lucky sample more or less decides (seen in a demo, too). That a policy
grows sharp counts only beside a sign of its rewards: one that finds the form of an answer loses entropy and distinct
answers, and its gradient jumps, in the very step in which it begins to learn (seen in a demo). An outcome that is lost
is a sign whatever the mean does: a policy that cancels whatever is asked gains more than it loses. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flywheel_api.results import CurvePoint

EARLY, RECENT = 3, 3  # steps that are the run's own measure, and steps that are judged: the median of each
SIGNS = 2
RISE = 0.05  # of the reward: more than noise
FALL = 0.1  # of it: four groups a step vary by 0.06 where one problem in twenty is solved (seen in a demo)
SOLVED = 0.9
BEFORE = 10 * RECENT  # steps that an outcome is compared with
CHANCE = 0.2  # how probable a fall of the reward may be, by chance: four groups a step cannot say it more surely
LOST = 0.001  # how probable an outcome's fall may be, by chance: many outcomes are looked at after many steps
APART = 3  # standard deviations: the best is the highest of many windows, and each step has other problems
Read = Callable[[CurvePoint], float | None]


def suspicion(curve: Sequence[CurvePoint]) -> str | None:
    """What was seen, for people; None while the training looks healthy, or is too young to say."""
    if len(curve) < EARLY + RECENT:
        return None
    early, recent = curve[:EARLY], curve[-RECENT:]
    level = Level.of(curve)
    lost = list(_of_outcomes(curve))
    # one outcome may rise while another is lost: then a reward at its best is no sign of health
    learning = level.learning and not lost
    rewards, broken = list(_of_rewards(early, recent, level, learning)), list(_of_answers(early, recent, curve))
    sharp = list(_of_sharpness(early, recent)) if (rewards or lost) and not learning else []
    said = [*lost, *rewards, *broken, *sharp]
    return "; ".join(said) if len(said) >= SIGNS else None


def suspect_from(curve: Sequence[CurvePoint]) -> int | None:
    """The first step of those that an alarm was raised about which still stands; None where none does."""
    first, length = None, len(curve)
    while length and suspicion(curve[:length]):
        first, length = curve[length - RECENT].step, length - 1
    return first


@dataclass(frozen=True)
class Level:
    """The reward of the first steps, of the last, and of the best three together; None where too few steps say it.

    `peak` is that of the best single step.
    """

    before: float | None
    now: float | None
    best: float | None
    peak: float | None
    noise: float
    """A standard deviation of the best, in which the problems of a group are one sample."""
    chance: float
    """How probable it is that so few groups are right as now, were they like the best (Fisher's exact test)."""

    @classmethod
    def of(cls, curve: Sequence[CurvePoint]) -> Level:
        """Read from a curve."""
        windows = [_of(curve[at : at + RECENT], _reward) for at in range(len(curve) - RECENT + 1)]
        best = max((value for value in windows if value is not None), default=None)
        at = windows.index(best) if best is not None else 0
        then, last = _right(curve[at : at + RECENT]), _right(curve[-RECENT:])
        chance = _by_chance(*then, *last) if then[1] and last[1] else 0.0
        groups = statistics.median([p.groups for p in curve if p.groups] or [0])
        noise = math.sqrt(max(0.0, best * (1 - best)) / (RECENT * groups)) if groups and best is not None else 0.0
        peak = max((value for p in curve if (value := _reward(p)) is not None), default=None)
        return cls(_of(curve[:EARLY], _reward), windows[-1], best, peak, max(RISE, noise), chance)

    @property
    def learning(self) -> bool:
        """Whether it has risen and is at its best, or the tasks are solved."""
        if self.now is None or self.best is None:
            return False
        risen = self.before is None or self.now > self.before + RISE or self.now >= SOLVED
        near = self.now >= self.best - APART * self.noise or self.chance > CHANCE
        return risen and not self.fallen and near

    @property
    def fallen(self) -> bool:
        """Whether less than half of the best is left, and it fell by more than noise."""
        if self.now is None or self.best is None:
            return False
        return self.now < min(self.best / 2, self.best - max(FALL, self.noise)) and self.chance <= CHANCE


def _of_outcomes(curve: Sequence[CurvePoint]) -> Iterator[str]:
    """Outcomes that are right less than half as often as before, beyond chance (Fisher's exact test over groups).

    A group has one problem, so that its trajectories are one sample.
    """
    before, now = _right_groups(curve[-BEFORE - RECENT : -RECENT]), _right_groups(curve[-RECENT:])
    for outcome, (right, groups) in before.items():
        last, of = now.get(outcome, (0, 0))
        if not of or last / of >= right / groups / 2:
            continue
        if _by_chance(right, groups, last, of) * len(before) <= LOST:
            yield f"{outcome} {last / of:.2f}, {right / groups:.2f} before"


def _by_chance(right: int, groups: int, last: int, of: int) -> float:
    """That at most `last` of `of` groups are right, were they like the others: Fisher's exact test, one-sided."""
    ways = [math.comb(of, k) * math.comb(groups, last + right - k) for k in range(last + 1) if k <= last + right]
    return sum(ways) / math.comb(groups + of, last + right)


def _right(points: Sequence[CurvePoint]) -> tuple[int, int]:
    """About how many groups' worth of trajectories were right, and how many groups there were."""
    said = [(value * p.groups, p.groups) for p in points if p.groups and (value := _reward(p)) is not None]
    return round(sum(right for right, _ in said)), sum(groups for _, groups in said)


def _right_groups(points: Sequence[CurvePoint]) -> dict[str, tuple[int, int]]:
    """By outcome: about how many groups' worth of trajectories were right, and how many groups there were."""
    right, groups = defaultdict[str, float](float), defaultdict[str, float](float)
    for point in points:
        size = (point.trajectories or 0) / point.groups if point.groups else 0
        for outcome, said in point.by_outcome.items():
            groups[outcome] += said.n / size if size else 0
            right[outcome] += said.reward * said.n / size if size else 0
    return {o: (min(round(right[o]), round(n)), round(n)) for o, n in groups.items() if round(n)}


def _of_rewards(
    early: Sequence[CurvePoint], recent: Sequence[CurvePoint], level: Level, learning: bool
) -> Iterator[str]:
    now = level.now
    if level.fallen:
        yield f"reward {now:.2f}, {level.best:.2f} at its best"
    # whatever was learnt, there is nothing left to learn from
    stuck = now is not None and now < SOLVED and all(_dead(p) == 1 for p in recent)
    if learning and not stuck:
        return
    if level.peak is not None and level.peak < FALL:
        return  # it was never right, so nothing falls: it starves, which is for `training.informativeFloor` to say
    first, last = _of(early, _spread), _of(recent, _spread)
    if first and last is not None and last < first / 2:
        yield f"rewards within a group differ by {last:.2f}, by {first:.2f} at first"
    dead = _of(recent, _dead)
    if dead is not None and dead > 0.7:
        yield f"{dead:.0%} of groups carry no advantage"


def _of_answers(
    early: Sequence[CurvePoint], recent: Sequence[CurvePoint], curve: Sequence[CurvePoint]
) -> Iterator[str]:
    norms = [p.grad_norm for p in curve if p.grad_norm]  # a step that was left out has none
    spike = max((p.grad_norm or 0.0 for p in recent), default=0.0)
    if len(norms) > RECENT and spike > 3 * statistics.median(norms):
        yield f"gradient norm {spike:.3g}, {statistics.median(norms):.3g} usually"
    first, last = _of(early, _entropy), _of(recent, _entropy)
    if first and last is not None and last > 2 * first:
        yield f"entropy {last:.2f}, {first:.2f} at first"
    first, last = _of(early, _truncated), _of(recent, _truncated)
    if last is not None and last > 0.3 and last > (first or 0.0) + RISE:
        yield f"{last:.0%} of trajectories run into their token limit, {first or 0:.0%} at first"
    first, last = _of(early, _malformed), _of(recent, _malformed)
    if last is not None and last > 0.2 and last > 2 * (first or 0.0):
        yield f"{last:.0%} of answers have lost their form, {first or 0:.0%} at first"


def _of_sharpness(early: Sequence[CurvePoint], recent: Sequence[CurvePoint]) -> Iterator[str]:
    first, last = _of(early, _entropy), _of(recent, _entropy)
    if first and last is not None and last < 0.4 * first:
        yield f"entropy {last:.2f}, {first:.2f} at first"
    first, last = _of(early, _distinct), _of(recent, _distinct)
    if first and last is not None and last < first / 3:
        yield f"{last:.0%} of answers differ, {first:.0%} at first"


def _of(points: Sequence[CurvePoint], read: Read) -> float | None:
    """The median over the steps; None unless most of them say it."""
    known = [value for p in points if (value := read(p)) is not None]
    return statistics.median(known) if 2 * len(known) > len(points) else None


def _reward(p: CurvePoint) -> float | None:
    return p.success if p.success is not None else p.reward


def _spread(p: CurvePoint) -> float | None:
    return p.reward_spread


def _entropy(p: CurvePoint) -> float | None:
    return p.entropy


def _truncated(p: CurvePoint) -> float | None:
    return p.truncated


def _distinct(p: CurvePoint) -> float | None:
    return p.distinct_answers


def _malformed(p: CurvePoint) -> float | None:
    return None if p.format_rate is None else 1 - p.format_rate


def _dead(p: CurvePoint) -> float | None:
    return 1 - p.informative / p.groups if p.informative is not None and p.groups else None
