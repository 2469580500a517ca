"""`python -m climb --model folder --recipe filled --out rows.jsonl`: chained rounds of one recipe, one row an event.

`--model` is a folder as `flywheel_jobs.trainer.import_model` writes it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from climb.policy import Answer, Optimiser, Policy
from climb.rounds import Maker, Recipe, Sizes
from flywheel_api.presets import WARM_UPS
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.rewards import math
from flywheel_jobs.seeds import numeracy
from flywheel_jobs.trainer.advantage import group_advantages

BONUS_BEFORE = 0.1  # what a bare wrong number earned before


@dataclass
class Run:
    """One line of rounds."""

    args: argparse.Namespace
    policy: Policy
    suite: list[Problem]
    started: float = field(default_factory=time.process_time)
    samples: int = 0

    def log(self, **row: object) -> None:
        """One row, with whose it is and the processor time so far, in seconds."""
        row |= {"recipe": self.args.recipe, "seed": self.args.seed, "cpu": round(time.process_time() - self.started, 1)}
        line = json.dumps(row)
        print(line, flush=True)
        with Path(self.args.out).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def scores(
        self, problems: Sequence[Problem], n: int, bonus: float = 0.0
    ) -> tuple[list[list[Answer]], list[list[math.Score]]]:
        """Answers and what they are worth."""
        answers = self.policy.sample(problems, n)
        self.samples += n * len(problems)
        worth = [
            [math.score(a.text, p.answer or "", cut=a.cut, format_bonus=bonus) for a in group]
            for p, group in zip(problems, answers, strict=True)
        ]
        return answers, worth

    def rates(self, problems: Sequence[Problem], n: int) -> list[float]:
        """The pass rate of each problem."""
        return [sum(s["correct"] for s in group) / n for group in self.scores(problems, n)[1]]

    def evaluate(self, number: int, event: str = "suite") -> None:
        """The held-out suite, by family and level."""
        spent, start = self.samples, time.process_time()
        _, worth = self.scores(self.suite, self.args.repeats)
        self.samples = spent
        by: dict[str, list[float]] = defaultdict(list)
        for problem, group in zip(self.suite, worth, strict=True):
            rate = sum(s["correct"] for s in group) / len(group)
            for name in ("all", problem.family, f"level {problem.level}"):
                by[name].append(rate)
        flat = [s for group in worth for s in group]
        self.log(
            event=event,
            round=number,
            score=mean(by.pop("all")),
            formed=mean([float(s["formed"]) for s in flat]),
            strata={name: mean(values) for name, values in sorted(by.items())},
            samples=self.samples,
            seconds=round(time.process_time() - start, 1),
        )

    def warm_up(self, number: int, shown: list[Problem], rng: random.Random) -> None:
        """Fine-tuning on the right answers of the round, before RL (`training.warmUp: SFT`)."""
        numbers = WARM_UPS["smollm2-135m-cpu"]
        rate, each, losses = float(self.args.warm_up), int(numbers["conversations_per_step"]), list[float]()
        self.policy.begin_round(Optimiser(rate, 2))
        for _ in range(int(numbers["epochs"])):
            rng.shuffle(shown)
            losses += [self.policy.fine_tune(shown[i : i + each]) for i in range(0, len(shown) - each + 1, each)]
        self.log(event="warm-up", round=number, conversations=len(shown), losses=[round(loss, 3) for loss in losses])
        self.evaluate(number, "warmed")

    def train(self, number: int, data: list[Problem], rng: random.Random) -> list[Problem]:
        """The steps of a round; the problems that it mostly failed at."""
        sizes, before = self.args.sizes, self.args.recipe == Recipe.BEFORE
        brakes = Optimiser(
            self.args.rate / (1 if before else 2 ** (number - 1)),
            0 if before else 2,
            self.args.kl if number > 1 else 0.0,
        )
        self.policy.begin_round(Optimiser(self.args.rate) if before else brakes)
        seen: dict[str, list[float]] = defaultdict(list)
        for step in range(1, sizes.steps + 1):
            batch = [data[(step * sizes.prompts + i) % len(data)] for i in range(sizes.prompts)]
            self.step(number, step, batch, BONUS_BEFORE if before else 0.0, before, seen)
            if step % len(data) == 0:
                rng.shuffle(data)
        return [p for p in data if mean(seen[p.id] or [0.0]) <= 0.5]

    def step(
        self, number: int, step: int, batch: list[Problem], bonus: float, always: bool, seen: dict[str, list[float]]
    ) -> None:
        """One step. `always`: a step that teaches nothing is made all the same, as it was before."""
        answers, worth = self.scores(batch, self.args.sizes.group, bonus)
        rewards = np.array([s["score"] for group in worth for s in group])
        owner = [i for i, group in enumerate(worth) for _ in group]
        found, groups = group_advantages(
            rewards, owner, np.ones(len(rewards), dtype=bool), format_bonus=0.0 if always else bonus
        )
        right = [sum(s["correct"] for s in group) / len(group) for group in worth]
        for problem, rate in zip(batch, right, strict=True):
            seen[problem.id].append(rate)
        told: Mapping[str, object] = {}
        if found.any() or always:
            kept = [i for i in range(len(found)) if always or self.args.kl or found[i]]
            flat = [a for group in answers for a in group]
            scale = len(kept) / len(found)  # token-mean over the whole batch, its flat groups too
            done = self.policy.update(
                [batch[owner[i]] for i in kept], [flat[i] for i in kept], [scale * found[i] for i in kept]
            )
            told = {"gradient": round(done.gradient, 3), "entropy": round(done.entropy, 3), "kl": round(done.kl, 5)}
        informative = groups.groups - groups.zero_variance - groups.form_only
        self.log(event="step", round=number, step=step, right=mean(right), informative=informative, **told)


def mean(values: Sequence[float]) -> float:
    """Rounded for a row."""
    return round(sum(values) / len(values), 4) if values else 0.0


def main() -> None:
    """Base, then round after round."""
    parser = argparse.ArgumentParser(prog="climb", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--recipe", choices=list(Recipe), type=Recipe, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=60, help="of numeracy-heldout")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-5, help="learning rate of the first round")
    parser.add_argument("--kl", type=float, default=0.0, help="from the second round on, where there are brakes")
    parser.add_argument("--warm-up", type=float, default=0.0, help="rate of a fine-tuning before RL; 0 is none")
    for name, value in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    args = parser.parse_args()
    args.sizes = Sizes(**{name: getattr(args, name) for name in vars(Sizes())})
    rng = random.Random(f"climb/{args.seed}")
    run = Run(args, Policy(args.model, args.seed), numeracy.suite(random.Random("suite/numeracy-heldout"), args.items))
    maker = Maker(args.recipe, args.sizes, rng, run.rates)
    run.evaluate(0)
    for number in range(1, args.rounds + 1):
        data, said = maker.data(number)
        cells: dict[str, int] = defaultdict(int)
        for p in data:
            cells[f"{p.family} {p.level}"] += 1
        run.log(event="data", round=number, problems=len(data), samples=run.samples, **said, cells=dict(cells))
        if not data:
            run.log(event="starved", round=number)
            continue
        if args.warm_up and maker.shown:
            run.warm_up(number, maker.shown, rng)
        maker.after(data, run.train(number, data, rng))
        run.evaluate(number)


if __name__ == "__main__":
    main()
