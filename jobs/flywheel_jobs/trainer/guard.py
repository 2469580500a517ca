"""The collapse guard: what a curve says when a small model falls apart, while there is still a good checkpoint.

In runs that collapsed the spread of rewards within groups fell first, then their mean, then the norm of the gradient
spiked (RAGEN, arXiv 2504.20073). One sign alone is weather; two together are a suspicion, where chance would hardly
show both: with two or four groups a step, as on a laptop, much looks like a sign (of healthy trainings of four groups
two in three showed two signs at some step, docs/evidence/guard.md). Two views of one number are one sign. A policy
that solves its tasks shows the first signs too (rewards are all 1), so they count only where the reward is not at a
high; so does one that has never been right, where one lucky sample more or less decides (seen in a demo, too). That a
policy grows sharp counts only beside a sign of its rewards or endings: one that finds the form of an answer loses
entropy and distinct answers, and its gradient jumps, in the very step in which it begins to learn (seen in a demo). An
outcome that is lost is a sign whatever the mean does: a policy that cancels whatever is asked gains more than it
loses. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flywheel_api.results import CurvePoint

EARLY, RECENT = 3, 3  # steps that are the run's own measure, and steps that are judged: the median of each
LATELY = 6  # steps before those that are judged, a measure too: what was learnt can be lost
SIGNS = 2
RISE = 0.05  # of the reward: more than noise
FALL = 0.1  # of it: four groups a step vary by 0.06 where one problem in twenty is solved (seen in a demo)
SOLVED = 0.9
BEFORE = 10 * RECENT  # steps that an outcome is compared with
NEAR = 0.2  # how probable a fall of the reward may be, by chance, and be a fall: four groups cannot say it more surely
WEAK, UNCOUNTED = 0.15, 0.01  # the chance of a sign that is no share of groups, and of one whose groups are not counted
CHANCE = 0.003  # of all signs together; simulated, 1 of 50 healthy trainings is stopped (docs/evidence/guard.md)
IN_GROUP = 2  # samples that a group is worth where form or length counts: as steps of the demo's trainings vary
LOST = 0.001  # how probable an outcome's fall may be, by chance: many outcomes are looked at after many steps
APART = 3  # standard deviations: the best is the highest of many windows, and each step has other problems
Read = Callable[[CurvePoint], float | None]


@dataclass(frozen=True)
class Sign:
    """What one look at the curve shows, and how probable it is that chance shows as much."""

    of: str  # what is counted: two views of one number are one sign
    said: str
    chance: float = WEAK


def suspicion(curve: Sequence[CurvePoint]) -> str | None:
    """What was seen, for people; None while the training looks healthy, or is too young to say."""
    if len(curve) < EARLY + RECENT:
        return None
    seen, level = Seen(curve), Level.of(curve)
    lost = list(_of_outcomes(curve))
    # one outcome may rise while another is lost: then a reward at its best is no sign of health
    learning = level.learning and not lost
    rewards, endings = list(_of_rewards(seen, level, learning)), list(_of_endings(seen))
    sharp = list(_of_sharpness(seen)) if (rewards or lost or endings) and not learning else []
    signs = [*lost, *rewards, *_of_answers(seen), *endings, *sharp]
    if len({sign.of for sign in signs}) < SIGNS or _together(signs) > CHANCE:
        return None
    return "; ".join(sign.said for sign in signs)


def _together(signs: Sequence[Sign]) -> float:
    """How probable it is that chance shows all of them; what is never right does not differ either: one chance."""
    chances: dict[str, float] = {}
    for sign in signs:
        thing = "reward" if sign.of == "spread" else sign.of
        chances[thing] = min(sign.chance, chances.get(thing, 1.0))
    return math.prod(chances.values())


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
        then, last = _groups(curve[at : at + RECENT], _reward), _groups(curve[-RECENT:], _reward)
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
        near = self.now >= self.best - APART * self.noise or self.chance > NEAR
        return risen and not self.fallen and near

    @property
    def fallen(self) -> bool:
        """Whether less than half of the best is left, and it fell by more than noise."""
        if self.now is None or self.best is None:
            return False
        return self.now < min(self.best / 2, self.best - max(FALL, self.noise)) and self.chance <= NEAR


def _of_outcomes(curve: Sequence[CurvePoint]) -> Iterator[Sign]:
    """Outcomes that are right less than half as often as before, beyond chance (Fisher's exact test over groups).

    A group has one problem, so that its trajectories are one sample.
    """
    before, now = _right_groups(curve[-BEFORE - RECENT : -RECENT]), _right_groups(curve[-RECENT:])
    for outcome, (right, groups) in before.items():
        last, of = now.get(outcome, (0, 0))
        if not of or last / of >= right / groups / 2:
            continue
        chance = _by_chance(right, groups, last, of) * len(before)
        if chance <= LOST:
            yield Sign("outcome", f"{outcome} {last / of:.2f}, {right / groups:.2f} before", chance)


def _by_chance(right: int, groups: int, last: int, of: int) -> float:
    """That at most `last` of `of` groups are right, were they like the others: Fisher's exact test, one-sided.

    By logarithms: whole numbers of long trainings have 100,000 digits, and this is asked after every step.
    """
    both = last + right
    of_all = _log_ways(groups + of, both)
    ways = (_log_ways(of, k) + _log_ways(groups, both - k) for k in range(max(0, both - groups), last + 1))
    return min(1.0, math.fsum(math.exp(way - of_all) for way in ways))


def _log_ways(of: int, k: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)


def _groups(points: Sequence[CurvePoint], read: Read, each: int = 1) -> tuple[int, int]:
    """About how many samples' worth of a share there is, and how many samples, where a group is worth `each`.

    A reward of another scale than 0 to 1 is no share: then there are none to count.
    """
    said = [(p.groups * each, value) for p in points if p.groups and (value := read(p)) is not None]
    if not all(0 <= value <= 1 for _, value in said):
        return 0, 0
    return round(sum(groups * value for groups, value in said)), sum(groups for groups, _ in said)


def _right_groups(points: Sequence[CurvePoint]) -> dict[str, tuple[int, int]]:
    """By outcome: about how many groups' worth of trajectories were right, and how many groups there were."""
    right, groups = defaultdict[str, float](float), defaultdict[str, float](float)
    for point in points:
        size = (point.trajectories or 0) / point.groups if point.groups else 0
        for outcome, said in point.by_outcome.items():
            groups[outcome] += said.n / size if size else 0
            right[outcome] += said.reward * said.n / size if size else 0
    return {o: (max(0, min(round(right[o]), round(n))), round(n)) for o, n in groups.items() if round(n)}


@dataclass(frozen=True)
class Seen:
    """A curve in two parts: steps that are judged, and those before."""

    curve: Sequence[CurvePoint]

    def __call__(self, read: Read) -> tuple[float | None, float | None]:
        """At first, and now."""
        return _of(self.curve[:EARLY], read), _of(self.curve[-RECENT:], read)

    def known(self, read: Read) -> tuple[list[float], float | None]:
        """At first and lately, where it is known, and now."""
        first, last = self(read)
        lately = _of(self.curve[-RECENT - LATELY : -RECENT], read)
        return [value for value in (first, lately) if value is not None], last

    def chance(self, read: Read, each: int = 1) -> float:
        """How probable it is that a share is as low as now, were the groups like those before."""
        before, now = _groups(self.curve[:-RECENT], read, each), _groups(self.curve[-RECENT:], read, each)
        return _by_chance(*before, *now) if before[1] and now[1] else UNCOUNTED


def _of_rewards(seen: Seen, level: Level, learning: bool) -> Iterator[Sign]:
    if level.fallen:
        chance = level.chance or UNCOUNTED
        yield Sign("reward", f"reward {level.now:.2f}, {level.best:.2f} at its best", chance)
    if learning or (level.peak is not None and level.peak < FALL):
        return  # never right, nothing falls: it starves, which is for `training.informativeFloor` to say
    first, last = seen(_spread)
    if first and last is not None and last < first / 2:
        said = f"rewards within a group differ by {last:.2f}, by {first:.2f} at first"
        yield Sign("spread", said, seen.chance(_informative))
    _, alive = seen(_informative)
    if alive is not None and alive < 0.3:
        yield Sign("spread", f"{1 - alive:.0%} of groups carry no advantage", seen.chance(_informative))


def _of_answers(seen: Seen) -> Iterator[Sign]:
    norms = [p.grad_norm for p in seen.curve if p.grad_norm]  # a step that was left out has none
    spike = max((p.grad_norm or 0.0 for p in seen.curve[-RECENT:]), default=0.0)
    if len(norms) > RECENT and spike > 3 * statistics.median(norms):
        yield Sign("gradient", f"gradient norm {spike:.3g}, {statistics.median(norms):.3g} usually")
    usual, last = seen.known(_entropy)
    usual = [value for value in usual if value]  # of nothing anything is more than twice as much
    if last is not None and usual and last > 2 * min(usual):
        yield Sign("entropy", f"entropy {last:.2f}, {min(usual):.2f} before")
    usual, last = seen.known(_formed)
    lost, before = 1 - (1.0 if last is None else last), 1 - max(usual, default=1.0)
    if lost > 0.2 and lost > 2 * before:
        said = f"{lost:.0%} of answers have lost their form, {before:.0%} before"
        yield Sign("form", said, seen.chance(_formed, IN_GROUP))


def _of_endings(seen: Seen) -> Iterator[Sign]:
    usual, last = seen.known(_ended)
    cut, before = 1 - (1.0 if last is None else last), 1 - max(usual, default=1.0)
    if cut > 0.3 and cut > before + RISE:
        said = f"{cut:.0%} of trajectories run into their token limit, {before:.0%} before"
        yield Sign("length", said, seen.chance(_ended, IN_GROUP))
    first, last = seen(_answers_per_group)
    if first is not None and last is not None and last < min(0.5, first / 3):
        yield Sign("variety", f"{last:.2f} different answers per problem, {first:.2f} at first", UNCOUNTED)


def _of_sharpness(seen: Seen) -> Iterator[Sign]:
    first, last = seen(_entropy)
    if first and last is not None and last < 0.4 * first:
        yield Sign("sharp", f"entropy {last:.2f}, {first:.2f} at first")
    first, last = seen(_distinct)
    if first and last is not None and last < first / 3:
        yield Sign("variety", f"{last:.0%} of answers differ, {first:.0%} at first")


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


def _ended(p: CurvePoint) -> float | None:
    return None if p.truncated is None else 1 - p.truncated


def _distinct(p: CurvePoint) -> float | None:
    return p.distinct_answers


def _answers_per_group(p: CurvePoint) -> float | None:
    if p.distinct_answers is None or not p.trajectories or not p.groups:
        return None
    return p.distinct_answers * p.trajectories / p.groups


def _formed(p: CurvePoint) -> float | None:
    return p.format_rate


def _informative(p: CurvePoint) -> float | None:
    return p.informative / p.groups if p.informative is not None and p.groups else None
