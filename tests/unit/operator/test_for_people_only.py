"""Phases and words of status are for people: whatever they say, the same is seen, decided and done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from flywheel_operator.model import Plan
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.subjects import subjects
from unit.operator.world import ROUND, START, World

QUOTA = (
    '403 {0} "x" is forbidden: exceeded quota: team, requested: count/{0}=1, used: count/{0}=4, limited: count/{0}=4'
)
KINDS = ("RolloutPool", "RLJob")
Decision = tuple[Any, ...]
Object = dict[str, Any]


class Scrambled(World):
    """A world that writes down every decision, and where somebody changes the phases and words of pools and RLJobs."""

    def __init__(self, scramble: Callable[[Object], None]) -> None:
        self.scramble, self.decisions, self.written = scramble, list[Decision](), list[Object]()
        super().__init__()

    def restart(self) -> None:
        """What the operator remembers besides status is lost."""
        made = subjects(self.kube, lambda _: self.store, self.config, lambda: (self.now - START).total_seconds())
        for kind, subject in made.items():
            made[kind] = replace(subject, plan=self._recorded(kind, subject.plan))
        self.reconcile = Reconciler(self.kube, made, lambda: self.now)

    def _recorded(self, kind: str, plan: Callable[..., Plan[Any]]) -> Callable[..., Plan[Any]]:
        def recorded(meta: Any, spec: Any, status: Any, seen: Any, now: Any) -> Plan[Any]:
            made = plan(meta, spec, status, seen, now)
            runs = [(run.child, run.state, run.ended) for run in _runs(seen)]
            told = [(note.reason, note.type) for note in made.notes]
            self.decisions.append((kind, meta.name, now, runs, made.actions, told, made.requeue, made.more))
            self.written.append(made.status.dump())
            return made

        return recorded

    async def play(self) -> None:
        """A round whose pool, and then whose training, a quota keeps out for a while."""
        body = yaml.safe_load(ROUND)
        body["spec"]["budget"] = {"wallClock": "400h"}
        self.kube.seed(body)
        for kind, turns in (("RayService", 14), ("RayJob", 30), ("", 40)):
            self.kube.before_write = _refusing(kind)
            for turn in range(turns):
                if turn % 5 == 4:
                    self.restart()
                await self.look()
                self.act()
                self.tick(60)
                for own in KINDS:
                    for obj in self.of_kind(own):
                        self.scramble(obj.get("status") or {})
        assert self.status()["verdict"] == "Promoted"


def _runs(seen: Any) -> list[Any]:
    held = getattr(seen, "runs", None)
    return list(held.values()) if isinstance(held, dict) else []


def _refusing(kind: str) -> Callable[[str, str], None]:
    def refuse(verb: str, which: str) -> None:
        if (verb, which) == ("create", kind):
            raise Forbidden(QUOTA.format(kind))

    return refuse


def _says(phase: str | None, words: str | None) -> Callable[[Object], None]:
    def scramble(status: Object) -> None:
        status.pop("phase", None) if phase is None else status.update(phase=phase)
        status.pop("progress", None) if words is None else status.update(progress=words)

    return scramble


def _facts(status: Object) -> Object:
    """What a status says besides words; usage is written anew where words change."""
    conditions = [{k: v for k, v in c.items() if k != "message"} for c in status["conditions"]]
    stages = [{k: v for k, v in s.items() if k != "progress"} for s in status.get("stages", [])]
    attempts = [{k: v for k, v in a.items() if k != "message"} for a in status.get("attempts", [])]
    said = {k: v for k, v in status.items() if k not in ("phase", "progress", "usage")}
    return said | {"conditions": conditions, "stages": stages, "attempts": attempts}


@pytest.fixture(scope="module")
def untouched() -> Scrambled:
    world = Scrambled(lambda status: None)
    asyncio.run(world.play())
    return world


@pytest.mark.parametrize(
    ("phase", "words"), [("Queued", "other"), ("Starting", None), ("Running", "other"), (None, "")]
)
async def test_nothing_is_decided_by_a_phase_or_by_words(
    untouched: Scrambled, phase: str | None, words: str | None
) -> None:
    world = Scrambled(_says(phase, words))
    await world.play()
    for mine, theirs in zip(world.decisions, untouched.decisions, strict=True):
        assert mine == theirs
    for mine, theirs in zip(world.written, untouched.written, strict=True):
        assert _facts(mine) == _facts(theirs)


@pytest.mark.parametrize("phase", ["Pending", "Starting", "Running"])
async def test_no_word_is_chosen_by_a_phase(untouched: Scrambled, phase: str) -> None:
    world = Scrambled(lambda status: status.update(phase=phase))
    await world.play()
    for mine, theirs in zip(world.written, untouched.written, strict=True):
        assert {**mine, "phase": None} == {**theirs, "phase": None}
