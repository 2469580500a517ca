"""Every stage of a round from Prepare to SolveAgentic on a real model server, and what holds wherever it runs."""

from __future__ import annotations

import sys
from typing import Any

from contract import stages
from contract.models import Endpoint, serving
from contract.rounds import DEFS, Round, dropped
from flywheel_api.artifacts import Manifest
from flywheel_api.results import EvaluationResult
from flywheel_api.round import Role
from flywheel_api.stages import PIPELINE, Runs, Stage, StageConfig
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

MODEL = "smollm2"
TOKENS = 64  # of a completion of a role: the small model seldom stops by itself, and a window is 2,048
# Every stage with the fewest items that still show it. A wave of MeasureReasoning asks for twice the prompts of a
# training step that are missing, each written, voted on and sampled: with the default preset's 64 prompts it is 128
# variants of up to a window, which is what once took hours. So the preset of the small model, and a step of two.
SPEC: dict[str, Any] = {
    "reasoning": {
        "seeds": "builtin://numeracy",
        "mining": {"samples": 2, "maxProblems": 3, "maxResponseTokens": 16},
        "synthesis": {"structural": 1, "persona": 1},
        "difficulty": {"samples": 2, "prompts": 2, "waves": 1},
    },
    "agentic": {
        "personas": "builtin://personas",
        "domains": [{"name": "booking"}],
        "branchesPerTree": 2,
        "maxTasks": 3,
        "solver": {"attempts": 1, "maxTurns": 3},
        "difficulty": {"low": "0.0", "high": "1.0", "samples": 1},
    },
    "training": {
        "preset": "smollm2-135m-cpu",
        "reasoning": {"algorithm": {"promptsPerStep": 2, "miniBatchPrompts": 2}},
    },
    "evaluation": {
        "suites": [
            {"name": "numeracy-heldout", "items": 3, "repeats": 2},
            {"name": "booking-heldout", "items": 2, "repeats": 2},
        ]
    },
}
LAST = Stage.SOLVE_AGENTIC


class ServedRound(Round):
    """A round whose `asked` roles are played by a real server, the others by the stand-in."""

    def __init__(self, url: str, asked: set[Role], standin: Endpoint) -> None:
        super().__init__(Store(MemoryBucket()), standin, stages.round_spec(**SPEC))
        self.url, self.asked = url, asked

    def config(self, stage: Stage, **more: Any) -> StageConfig:
        """The stage's configuration with those roles at the server; what is not named falls back to the teacher."""
        hands = {"handshake": True} if stage is Stage.PREPARE else {}
        whole = super().config(stage, **hands, **more)
        there = {"url": self.url, "model": MODEL, "concurrency": 4, "timeout_seconds": 120.0, "max_tokens": TOKENS}
        endpoints = {e.role: e for e in whole.endpoints}
        for role in self.asked:
            like = endpoints.get(role, endpoints[Role.TEACHER])
            endpoints[role] = like.model_copy(update={**there, "role": role})
        return whole.model_copy(update={"endpoints": list(endpoints.values())})

    def run_all(self) -> dict[Stage, Manifest]:
        """Every stage from Prepare to SolveAgentic, the evaluation of the base included."""
        for one in PIPELINE:
            if one.runs is Runs.JOB and one.stage is not Stage.IMPORT_MODEL:
                made = self.run(one.stage)
                print(f"{one.stage}: in {made.counts.in_}, out {made.counts.out}, dropped {dropped(made)}")
            if one.stage is LAST:
                break
        return self.done


def run_on(url: str, asked: set[Role]) -> dict[Stage, Manifest]:
    """Runs the stages with those roles at the server and checks what every server must give; what they committed.

    A 135M model is no teacher: with it in every role the data may run dry, which is counted and no failure.
    So the solver's votes and episodes are seen where a script writes the problems.
    """
    with serving() as standin:
        done = ServedRound(url, asked, standin).run_all()
    for stage, manifest in done.items():
        counts = manifest.counts
        assert counts.in_ == counts.out + sum(d.count for d in counts.dropped), stage
        for use in manifest.usage.roles:
            assert use.calls > 0 and use.prompt_tokens > 0 and use.completion_tokens > 0, (stage, use)
        assert DEFS[stage].stage.value == manifest.stage
    assert isinstance(done[Stage.EVALUATE_BASE].result, EvaluationResult)
    assert done[Stage.MINE_REASONING].counts.in_ == 3
    used = {use.role for manifest in done.values() for use in manifest.usage.roles}
    assert used >= asked - {Role.USER_SIMULATOR}, "whom a solver need not speak to"
    if Role.TEACHER in asked:
        assert not any(m.standin for m in done.values()), "nothing is scripted here"
    elif asked == {Role.POLICY}:
        assert done[LAST].counts.out > 0
    sys.stdout.flush()
    return done


def owners(done: dict[Stage, Manifest]) -> set[str | None]:
    """Whose model answered as the policy, as the server's list of models says it."""
    return {s.owned_by for stage in (Stage.EVALUATE_BASE, Stage.MINE_REASONING) for s in done[stage].served_by}
