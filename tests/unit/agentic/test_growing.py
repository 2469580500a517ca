"""What keeps trees of all kinds and their right ways long: found in five chained rounds of the airline."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from flywheel_api.records.agentic import Branch, BranchKind, Seed
from flywheel_api.records.base import Lineage
from flywheel_domains import branches
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.patches import Patch, PatchKind, proposals
from flywheel_domains.twins import twin_of
from flywheel_jobs.agentic import growth, kinds, pairs, rounds, targets
from flywheel_jobs.agentic.right import Right, steps
from flywheel_jobs.agentic.targets import Target, twins_of
from flywheel_jobs.stages import invert_agentic
from unit.agentic.context import PEOPLE, agentic
from unit.agentic.test_no_task import TERN
from unit.agentic.world import ANN, LOCKED, PACKAGE, case, domain, right, task


@pytest.fixture(scope="module")
def cases() -> list[Right]:
    """Cases of a domain with several wishes at once."""
    tern = load(TERN)
    world = build_world(tern, 1)
    found = [draw_behaviour(tern, world, random.Random(seed)) for seed in range(5)]
    return [Right(tern, one.case, one) for one in found]


def children(parent: Right, kind: PatchKind | None = None) -> list[growth.Offer]:
    patches = proposals(parent.domain, parent.start, parent.behaviour, random.Random(1), kind)
    made = (growth.accepted(parent, patch) for _, patch in zip(range(6), patches, strict=False))
    return [one for one in made if isinstance(one, growth.Offer)]


def test_a_branch_is_counted_by_what_it_adds_and_not_by_all_that_is_in_it(cases: list[Right]) -> None:
    """By the most telling of all, whatever a second wish adds below a refused one is mixed."""
    seen = Counter[BranchKind]()
    for parent in cases:
        for offer in children(parent, PatchKind.WISH):
            new = kinds.kinds_in(offer.right) - kinds.kinds_in(parent)
            assert offer.kind in (new or kinds.kinds_in(offer.right))
            assert offer.kind is not BranchKind.MIXED or new <= {BranchKind.MIXED}
            seen[offer.kind] += BranchKind.MIXED in kinds.kinds_in(offer.right)
    assert len(+seen) >= 3, "mixed cases are of several kinds"


def test_twins_are_decided_by_different_rules(cases: list[Right]) -> None:
    """In the order of reading the first rule decided them: whose it is, after which an agent looks at nothing."""
    ruled = [{twin.rule for n in range(6) if (twin := twin_of(one.domain, one.start, one.behaviour, random.Random(n)))}
             for one in cases if one.behaviour.results[-1].wrote]  # fmt: skip
    assert ruled and max(map(len, ruled)) >= 3, ruled


def test_of_twins_on_a_side_the_longest_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = right(case(fare="locked", hidden=True))
    found = [pairs.Twin(one, "locked", True) for one in (right(LOCKED), asked, right(LOCKED))]
    assert [len(steps(twin.right)) for twin in found] == [1, 2, 1]
    monkeypatch.setattr(targets, "twin", lambda *_: found.pop(0))
    base = Target("t", Lineage(operator="x"), PACKAGE, (ROOT,), right(), ANN)
    (made,) = (t for t in twins_of([base] * 3, random.Random(1), 4, 0.5) if t.of)
    assert made.right is asked


ROOT = Branch(id="root", kind=BranchKind.NORMAL, condition="x")


def test_of_a_kind_the_longest_right_way_of_each_tree_becomes_a_task_first() -> None:
    pool = []
    for tree, lengths in (("a", (3, 4, 6, 5)), ("b", (1, 2))):
        for n in lengths:
            one, root = right(), ROOT.model_copy(update={"id": f"root-{n}"})
            vars(one)["workflow"] = f"{tree}/{n}"
            pool.append(Target(tree, Lineage(operator="x"), PACKAGE, (root,), one, ANN, n))
    for limit, ways in ((2, [2, 6]), (4, [1, 2, 5, 6])):
        chosen = invert_agentic._balanced([pool], limit, agentic())
        assert sorted(t.steps for t in chosen) == ways, "the longer tree leaves the other one its turns"


def test_of_seeds_that_are_as_hard_the_longest_grow() -> None:
    seeds = []
    for n, of in enumerate((task(LOCKED), task(), task(LOCKED))):
        own = of.model_copy(update={"id": f"t{n}", "kind": "normal", "legal": True})
        seeds.append(Seed(id=f"s{n}", lineage=of.lineage, persona=PEOPLE[n], task=own, fresh=False))
    (first,) = rounds.failed_first(seeds, [], 1, 1, 1.0)
    assert len(first.task.right.calls) == 2 and first.id == "s1"


def test_a_branch_with_less_to_find_out_begins_anew(cases: list[Right]) -> None:
    """At its parent's depth it was a deep task by its label, and a shallow one by what it comes to."""
    levels = Counter[int]()
    for parent in cases:
        above = branches.branch(parent.domain, parent.behaviour).depth
        for offer in children(parent):
            level = offer.level(3)
            levels[level] += 1
            assert (level == 1) is not offer.depth.covers(above)
            assert level != 4 or offer.depth.cells > above.cells
    assert set(levels) == {1, 3, 4}, levels


def test_another_cell_alone_is_no_level() -> None:
    """One thing to find out instead of another one."""
    above = branches.branch(domain(), right(LOCKED).behaviour)
    below = branches.attempt(domain(), above.found.start, above, Patch(PatchKind.HIDE, slots=frozenset({"id"})))
    assert below is not None and branches.accept(domain(), above, below) == ""
    other = replace(below, depth=replace(below.depth, cells=above.depth.cells))
    assert branches.accept(domain(), above, other) == "it asks nothing more than its parent"
