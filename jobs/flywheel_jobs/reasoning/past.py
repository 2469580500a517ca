"""What earlier rounds of the campaign left: what training failed at, what was too hard or solved, what was trained on.

Handed on from round to round: MineReasoning reads it by the lineage of the base round's rollouts, MeasureReasoning adds
its own and writes it for the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Band, KnownProblem, Problem
from flywheel_api.stages import Stage
from flywheel_jobs.core.turns import in_turn
from flywheel_jobs.harness.context import OutputFile, StageContext
from flywheel_jobs.reasoning.rollouts import failed_problems
from flywheel_jobs.storage.datasets import read_rollouts
from flywheel_jobs.storage.handed_on import handed_on as left_by

POOL, KNOWN = "pool.jsonl", "known.jsonl"
LEFT = (Band.HARD, Band.FRONTIER)  # bands of untrained problems that the next round tries again
TRAINED_BEFORE = "trained-before"  # why such a problem is dropped where it does not come as replay
_TRAINED = "trained"


@dataclass(frozen=True)
class Past:
    """Of all earlier rounds; empty in a first one. `failed` is the base round's alone."""

    failed: list[Problem] = field(default_factory=list)
    pool: list[Problem] = field(default_factory=list)
    known: list[KnownProblem] = field(default_factory=list)

    @property
    def trained(self) -> frozenset[str]:
        """Contents that were trained on: they come back as replay or not at all."""
        return frozenset(k.id for k in self.known)

    def proposed(self) -> list[Problem]:
        """Problems to be tried again: what training failed at, what was too hard, and what was not needed, in turn."""
        trained = self.trained
        left = [[p for p in self.pool if p.band is b and p.content not in trained] for b in LEFT]
        offered: dict[str, Problem] = {}
        for problem in in_turn(self.failed, *left):
            offered.setdefault(problem.content, problem.model_copy(update={"policy_pass": None, "band": None}))
        return list(offered.values())

    def replayable(self) -> list[Problem]:
        """Problems that were trained on or found solved."""
        trained = self.trained
        return [p for p in self.pool if p.band is Band.SOLVED or p.content in trained]

    def files(self) -> list[OutputFile]:
        """As the next stage or round reads it."""
        return [OutputFile.of(POOL, Problem, self.pool), OutputFile.of(KNOWN, KnownProblem, self.known)]

    def then(self, measured: Iterable[Problem], trained: Sequence[Problem], limit: int) -> Past:
        """With what this round found and trains on; of each kind the newest `limit` are kept."""
        known = {k.id: k for k in self.known}
        for problem in trained:
            lineage = Lineage(root_id=problem.lineage.root_id or problem.id, round=problem.lineage.round)
            known.setdefault(problem.content, KnownProblem(id=problem.content, lineage=lineage))
        now = {p.content: p for p in (*trained, *measured)}
        pool = [*now.values(), *(p for p in self.pool if p.content not in now)]
        kinds: dict[str, list[Problem]] = {}
        for problem in pool:
            kind = _TRAINED if problem.content in known else str(problem.band)
            kinds.setdefault(kind, []).append(problem)
        kept = [p for kind in (_TRAINED, *Band) for p in kinds.get(kind, [])[:limit]]
        return Past(pool=kept, known=list(known.values()))


def past(ctx: StageContext) -> Past:
    """What the rollouts of the base round lead to. What was pruned is not read."""
    failed = failed_problems(t for digest in ctx.config.previous_rollouts for t in read_rollouts(ctx.store, digest))
    return replace(carried(ctx), failed=failed)


def carried(ctx: StageContext) -> Past:
    """The pool and what is known, each problem once: all but what the base round's training failed at.

    The base of a round that was held has not learned what that trained on. It knows what the round was handed, and
    what was trained on is in the pool, banded as that base was measured.
    """
    rollouts = ctx.config.previous_rollouts
    learned = Stage.MINE_REASONING if ctx.config.previous_held else Stage.MEASURE_REASONING
    pool = left_by(ctx.store, rollouts, Stage.MEASURE_REASONING, POOL, Problem, lambda p: p.content)
    known = left_by(ctx.store, rollouts, learned, KNOWN, KnownProblem, lambda k: k.id)
    return Past(pool=pool, known=known)


def handed_on(ctx: StageContext) -> Past:
    """What MineReasoning found, for MeasureReasoning."""
    stage = Stage.MINE_REASONING
    return Past(pool=ctx.records(stage, POOL, Problem), known=ctx.records(stage, KNOWN, KnownProblem))
