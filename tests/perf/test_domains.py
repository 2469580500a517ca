"""Benchmarks of domains, in seconds of CPU, so that a busy machine counts little.

10,000 branches, each validated, inverted and twinned (target: 120). `domain test` of the largest built-in one (20).
1,000 tasks from personas to what is trained on, by the stand-in and a parametric policy (5 minutes of two cores: 600).
Validation computes the right behaviour and compares the proof with the parent's; inversion finds the look-ups, the
words, the policy document and what the caller knows; the twin is the same words with another verdict.
"""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains import runner
from flywheel_domains.branches import Branch, accept, attempt, branch, grow
from flywheel_domains.case import dump
from flywheel_domains.check import check
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.lookups import Unprovable
from flywheel_domains.patches import proposals
from flywheel_domains.twins import twin_of
from flywheel_domains.wishes import NotDrawn
from flywheel_domains.words import card, document, document_text, first_message
from flywheel_domains.world import World
from perf.chained import Chain
from perf.machine import middle, record

BUILTIN = Path(flywheel_domains.__file__).parent / "builtin"
TERN = Path(__file__).parents[1] / "unit" / "domains" / "tern"
FOLDERS = {"tern": TERN, **{name: BUILTIN / name for name in ("airline", "retail")}}
BRANCHES, RUNS = 300, 3
TASKS = 1000


def used() -> float:
    """Seconds of CPU so far, with those of processes that have ended: code of a domain runs in one of its own."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def parents(domain: Domain, world: World, rng: random.Random) -> list[Branch]:
    """Roots and what grew on them, up to five patches deep."""
    names = [rule.id for rule in domain.rules if rule.verdict]
    found: list[Branch] = []
    while len(found) < 60:
        try:
            found.append(branch(domain, draw_behaviour(domain, world, rng, rng.choice(names))))
        except (NotDrawn, Unprovable):
            continue
        while len(found[-1].patches) < rng.randint(0, 5):
            child = grow(domain, world, found[-1], rng)
            if child is None:
                break
            found.append(child)
    return found


def one(domain: Domain, world: World, parent: Branch, rng: random.Random) -> bool:
    """A proposed branch, validated and, if it is accepted, inverted and twinned; whether it was accepted."""
    patch = next(proposals(domain, world, parent.found, rng), None)
    child = attempt(domain, world, parent, patch) if patch is not None else None
    kept = child is not None and not accept(domain, parent, child)
    made = child if child is not None and kept else parent
    document_text(domain, document(domain, made.case))
    first_message(domain, world, made.case)
    card(domain, made.found)
    dump(made.case)
    twin_of(domain, world, made.found, rng)
    return kept


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_ten_thousand_branches(name: str) -> None:
    domain = load(FOLDERS[name])
    started = time.process_time()
    world = build_world(domain, 1)
    building = time.process_time() - started
    rng = random.Random(1)
    roots = parents(domain, world, rng)
    seconds, accepted = [], 0
    for _ in range(RUNS):
        started = time.process_time()
        accepted += sum(one(domain, world, rng.choice(roots), rng) for _ in range(BRANCHES))
        seconds.append((time.process_time() - started) / BRANCHES * 10_000)
    record(
        f"domains-{name}",
        {
            "what": "seconds of CPU for 10,000 branches, each validated, inverted and twinned; worlds are shared",
            "seconds": round(middle(seconds), 1),
            "runs_seconds": [round(each, 1) for each in seconds],
            "accepted_share": round(accepted / (RUNS * BRANCHES), 2),
            "world_seconds": round(building, 2),
            "target": 120,
        },
    )


@pytest.mark.timeout(900)
def test_domain_test_of_the_largest() -> None:
    before = used()
    report = check(FOLDERS["airline"])
    assert report.passed, report.text()
    what = "seconds of CPU of `domain test` of the airline, with its second run"
    record("domain-test-airline", {"what": what, "seconds": round(used() - before, 1), "target": 20})


@pytest.mark.timeout(3600)
def test_a_thousand_tasks() -> None:
    before = used()
    (row,) = Chain(["airline"], tasks=TASKS, skill=9.0).run(1)
    for running in runner._RUNNERS.values():
        running.close()  # so that its time counts
    seconds = used() - before
    record(
        "domains-thousand-tasks",
        {
            "what": f"seconds of CPU for {TASKS} tasks of the airline, from personas to what is trained on: cases, "
            "trees, words, twins, solving, and the policy measured with 4 samples each; then its rollouts",
            "seconds": round(seconds),
            "tasks": row["tasks"],
            "accepted": row["kept"],
            "seconds_per_accepted": round(seconds / row["kept"], 2),
            "target": 600,
        },
    )
