"""Benchmark: seconds of CPU for 10,000 branches of a domain, each validated, inverted and twinned (target: 120).

Validation computes the right behaviour and compares the proof with the parent's; inversion finds the look-ups, the
words, the policy document and what the caller knows; the twin is the same words with another verdict.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains.branches import Branch, accept, attempt, branch, grow
from flywheel_domains.case import dump
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
from perf.machine import middle, record

BUILTIN = Path(flywheel_domains.__file__).parent / "builtin"
TERN = Path(__file__).parents[1] / "unit" / "domains" / "tern"
FOLDERS = {"tern": TERN, **{name: BUILTIN / name for name in ("airline", "retail")}}
BRANCHES, RUNS = 300, 3


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
    card(domain, made.case)
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
