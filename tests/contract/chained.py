"""Chained rounds of the reasoning track in memory: the stages' own code, a policy of known skill, no real training.

`python -m contract.chained` prints what three rounds come to with the band filled and with what was done before: the
table of docs/evidence/bands.md. It shows what data rounds make; how a policy learns from it is an assumption (`Skill`).
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract import stages
from contract.models import Endpoint, serving
from contract.rounds import Round
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.records.reasoning import Problem
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import DatasetResult, MeasuredResult, RolloutsResult, Split, Track
from flywheel_api.stages import Stage
from flywheel_jobs.harness.context import OutputFile, store_file
from flywheel_jobs.seeds.numeracy import FAMILIES, Typed
from flywheel_jobs.storage.store import Store
from flywheel_standin import reasoning as standin
from flywheel_standin.protocol import Answer, ChatRequest
from flywheel_store.memory import MemoryBucket

GROUP, STEPS, STEP_PROMPTS = 8, 16, 4
Cell = tuple[str, int]


@dataclass
class Skill:
    """Chance of a right answer by family, at level 1 and above; training moves it where groups differ.

    A group at rate p moves its cell by `gain` times 4p(1-p), others of its family by a third and all others by a
    twentieth of that; a cell that a round did not touch falls back by `loss` of what it stands above its start.
    """

    start: dict[str, float]
    seed: int
    gain: float = 0.035
    loss: float = 0.15
    rates: dict[Cell, float] = field(default_factory=dict)

    def rate(self, cell: Cell) -> float:
        """The chance in a cell."""
        return self.rates.setdefault(cell, self.begin(cell))

    def begin(self, cell: Cell) -> float:
        """The chance before any training: a third of it above level 1."""
        return self.start.get(cell[0], 0.02) / (1 if cell[1] == 1 else 3)

    def answer(self, request: ChatRequest) -> Answer | None:
        """The policy behind its endpoint."""
        if request.model != "policy":
            return None
        typed, rng = standin.understand(request.last_user), request.rng()
        if typed is not None and rng.random() < self.rate(cell_of_typed(typed)):
            return Answer(str(typed.answer()))
        return Answer(str(rng.randint(100, 199)))

    def train(self, problems: Sequence[Problem], rng: random.Random) -> tuple[list[Trajectory], Counter[str]]:
        """So many steps on the problems in turn; the trajectories, and groups by what they tell."""
        order: list[Problem] = []
        kept: list[Trajectory] = []
        groups: Counter[str] = Counter()
        touched: set[Cell] = set()
        for step in range(1, STEPS + 1):
            while len(order) < STEP_PROMPTS:
                order += rng.sample(problems, len(problems))
            batch, order = order[:STEP_PROMPTS], order[STEP_PROMPTS:]
            for problem in batch:
                cell = cell_of(problem)
                p = self.rate(cell)
                right = [rng.random() < p for _ in range(GROUP)]
                kept += [_trajectory(problem, step, n, r) for n, r in enumerate(right)]
                groups["informative" if 0 < sum(right) < GROUP else "solved" if all(right) else "dead"] += 1
                if 0 < sum(right) < GROUP:
                    touched.add(cell)
                    self._learn(cell, 4 * p * (1 - p) * self.gain)
        for cell in set(self.rates) - touched:
            self.rates[cell] -= self.loss * max(0.0, self.rates[cell] - self.begin(cell))
        return kept, groups

    def _learn(self, cell: Cell, gain: float) -> None:
        self.rate(cell)
        for other in list(self.rates):
            share = 1.0 if other == cell else 1 / 3 if other[0] == cell[0] else 1 / 20
            self.rates[other] += share * gain * (1 - self.rates[other])

    def score(self) -> dict[str, float]:
        """Chance by family, over both: what a held-out suite with all of them would measure."""
        return {f: (self.rate((f, 1)) + self.rate((f, 2))) / 2 for f in FAMILIES}


def cell_of_typed(typed: Typed) -> Cell:
    """Family, and whether it is of level 1."""
    return typed.family, min(2, typed.level)


def cell_of(problem: Problem) -> Cell:
    """The cell of a problem; of one that nobody can read, none that is ever right."""
    typed = standin.understand(problem.question)
    return cell_of_typed(typed) if typed else ("?", 1)


def _trajectory(problem: Problem, step: int, number: int, right: bool) -> Trajectory:
    said = [*problem.messages(), {"role": "assistant", "content": (problem.answer or "") if right else "?"}]
    return Trajectory(
        id=f"{problem.id}-{step}-{number}", lineage=problem.lineage, track=Track.REASONING, item=problem.id,
        attempt=number, step=step, messages=said, score=float(right), correct=right, truth=problem.answer,
        problem=problem,
    )  # fmt: skip


class Chain:
    """A campaign: each round starts from the model that the last one trained, and is given its rollouts."""

    def __init__(self, skill: Skill, endpoint: Endpoint, **reasoning: Any) -> None:
        self.skill, self.endpoint, self.reasoning = skill, endpoint, reasoning
        self.table: list[dict[str, Any]] = []
        self.store = Store(MemoryBucket())
        self.rounds: list[Round] = []
        self.rollouts: list[str] = []
        self.groups: list[Counter[str]] = []

    def turn(self, held: bool = False) -> Round:
        """One round up to its training; with `held` from the base of the one before, which was held."""
        number = len(self.rounds) + 1
        base = {"base": {"round": f"r{number - 1}"}} if self.rounds else {}
        spec = stages.round_spec(
            reasoning={
                "seeds": "builtin://numeracy-mixed",
                "mining": {"samples": 4, "maxProblems": 32, "maxResponseTokens": 8},
                "synthesis": {"structural": 1, "persona": 1},
            } | self.reasoning,
            training={"preset": "smollm2-135m-cpu", "rounds": self.table},
            seed=100 * self.skill.seed + number,
            **base,
        )  # fmt: skip
        round_ = Round(self.store, self.endpoint, spec)
        turn = number - held
        round_.more = {"base_model": f"sha256:{turn:064d}", "previous_rollouts": self.rollouts, "name": f"r{number}"}
        round_.more |= {"number": turn, "previous_held": held}
        round_.until(Stage.PACKAGE)
        self.rounds.append(round_)
        return round_

    def trained(self, round_: Round, problems: Sequence[Problem]) -> None:
        """The training of a round on these problems; its rollouts lead where a real one's lead."""
        kept, groups = self.skill.train(problems, random.Random(f"{self.skill.seed}/{len(self.rounds)}"))
        self.groups.append(groups)
        file = store_file(self.store, OutputFile.of("rollouts/step-16.jsonl", Trajectory, kept))
        # as after a round of both tracks: both trainings lead to what Package read
        self.rollouts = [self.rolled_out(round_, Track.REASONING, [file]), self.rolled_out(round_, Track.AGENTIC, [])]

    def rolled_out(self, round_: Round, track: Track, files: list[FileEntry]) -> str:
        """A training's rollouts, with the data set that it read."""
        data = self._part(DatasetResult(track=track, split=Split.TRAIN), [], inputs_of(round_))
        return self._part(RolloutsResult(step=STEPS), files, {"train": data})

    def _part(self, result: Any, files: list[Any], inputs: dict[str, str]) -> str:
        part: Manifest = stages._training_part(result, files)
        return self.store.put_manifest(part.model_copy(update={"inputs": inputs}))


def inputs_of(round_: Round) -> dict[str, str]:
    """What Package read."""
    return dict(round_.done[Stage.PACKAGE].inputs)


def problems_of(round_: Round, stage: Stage, path: str) -> list[Problem]:
    """Problems of a file of a round."""
    return [Problem.model_validate(p) for p in round_.records(stage, path)]


def unmeasured(round_: Round) -> list[Problem]:
    """What was trained on before variants were measured: all of them, and problems that mining saw right up to half."""
    mined = problems_of(round_, Stage.MINE_REASONING, "mined.jsonl")
    some = [p for p in mined if p.policy_pass and 0 < p.policy_pass.rate <= 0.5]
    return some + problems_of(round_, Stage.VERIFY_REASONING, "verified.jsonl")


ARMS: dict[str, dict[str, Any]] = {
    "filled, replay": {},
    "filled, no replay": {"replayShare": "0"},
    "measured, not filled": {"difficulty": {"waves": 0}, "replayShare": "0"},
    "not measured": {"difficulty": {"waves": 0}, "replayShare": "0", "freshShare": "0"},
}
STARTS = {
    "add": 0.12,
    "sub": 0.08,
    "sequence": 0.07,
    "linear": 0.06,
    "mul": 0.05,
    "chain": 0.04,
    "percent": 0.04,
    "modular": 0.03,
    "count": 0.03,
    "units": 0.02,
}


def main(seeds: Sequence[int] = (1, 2, 3), rounds: int = 3) -> None:
    """The table."""
    print("| arm | seed | base | r1 | r2 | r3 | lowest family | prompts | informative | dead | samples to measure |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    totals: dict[str, list[float]] = defaultdict(list)
    for arm, reasoning in ARMS.items():
        for seed in seeds:
            skill = Skill(STARTS, seed)
            scores, prompts, measured = [mean(skill.score().values())], [], []
            with serving(extra=(skill.answer,)) as endpoint:
                chain = Chain(skill, endpoint, **reasoning)
                for _ in range(rounds):
                    round_ = chain.turn()
                    data = (
                        unmeasured(round_)
                        if arm == "not measured"
                        else problems_of(round_, Stage.MEASURE_REASONING, "training.jsonl")
                    )
                    result = round_.done[Stage.MEASURE_REASONING].result
                    assert isinstance(result, MeasuredResult)
                    prompts.append(len(data))
                    measured.append(0 if arm == "not measured" else result.samples)
                    chain.trained(round_, data)
                    scores.append(mean(skill.score().values()))
            totals[arm].append(scores[-1])
            told, dead = (", ".join(str(g[kind]) for g in chain.groups) for kind in ("informative", "dead"))
            row = [arm, seed, *(f"{s:.3f}" for s in scores), f"{min(skill.score().values()):.2f}"]
            row += [", ".join(map(str, prompts)), told, dead, ", ".join(map(str, measured))]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    for arm, ends in totals.items():
        print(f"{arm}: {mean(ends):.3f} after {rounds} rounds, mean of {len(ends)} seeds")


def mean(values: Collection[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
