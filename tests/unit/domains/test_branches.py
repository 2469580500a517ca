"""Branches that get deeper, twins beside them, and documents that give nothing away."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest

import flywheel_domains
from flywheel_api.records.agentic import BranchKind
from flywheel_domains.behaviour import behave
from flywheel_domains.branches import Branch, accept, attempt, branch, grow, kinds_of
from flywheel_domains.case import dump
from flywheel_domains.case import parse as parse_case
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour, problem
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.lookups import Unprovable
from flywheel_domains.patches import PatchKind, composed
from flywheel_domains.patches import proposals as proposed
from flywheel_domains.twins import How, differs, twin_of
from flywheel_domains.wishes import NotDrawn
from flywheel_domains.words import document, first_message, rendered, undetermined
from flywheel_domains.world import World

BUILTIN = Path(flywheel_domains.__file__).parent / "builtin"
CHAIN = 5
ROOTS = 12


@pytest.fixture(scope="module")
def roots(tern: Domain, world: World) -> list[Branch]:
    rng, names, found = random.Random(2), [rule.id for rule in tern.rules if rule.verdict], list[Branch]()
    while len(found) < ROOTS:
        try:
            found.append(branch(tern, draw_behaviour(tern, world, rng, rng.choice(names))))
        except (NotDrawn, Unprovable):
            continue
    return found


@pytest.fixture(scope="module")
def chains(tern: Domain, world: World, roots: list[Branch]) -> list[list[Branch]]:
    """Five patches on each root, as far as they go."""
    rng, chains = random.Random(4), []
    for root in roots:
        chain = [root]
        while len(chain) <= CHAIN and (child := grow(tern, world, chain[-1], rng)) is not None:
            chain.append(child)
        chains.append(chain)
    return chains


def test_depth_is_more_to_know_longer_ways_and_more_rules(chains: list[list[Branch]]) -> None:
    whole = [chain for chain in chains if len(chain) == CHAIN + 1]
    assert len(whole) >= ROOTS - 2
    levels = [[chain[depth] for chain in whole] for depth in range(CHAIN + 1)]
    for measure in ("cells", "steps", "rules"):
        by_depth = [mean(getattr(each.depth, measure) for each in level) for level in levels]
        assert by_depth == sorted(by_depth), (measure, by_depth)
        assert by_depth[-1] > 1.4 * by_depth[0], (measure, by_depth)
    distinct = [len({each.proof_id for each in level}) for level in levels]
    assert min(distinct[1:]) >= max(distinct[0], len(whole) - 1)


def test_patches_of_all_ancestors_compose(tern: Domain, world: World, chains: list[list[Branch]]) -> None:
    for chain in chains:
        case = composed(chain[0].case, chain[-1].patches)
        assert replace(case, target=None) == replace(chain[-1].case, target=None)
        assert behave(tern, world, case).endings == chain[-1].found.endings


def test_a_patch_that_changes_nothing_to_be_known_is_refused(tern: Domain, world: World, roots: list[Branch]) -> None:
    root = roots[0]
    same = next(p for p in proposed(tern, world, root.found, random.Random(1), PatchKind.HIDE) if p.slots)
    nothing = attempt(tern, world, root, replace(same, slots=frozenset()))
    assert nothing is not None
    assert accept(tern, root, nothing) == "a right agent must know nothing else than before"


def test_the_vocabulary_occurs(tern: Domain, chains: list[list[Branch]]) -> None:
    kinds = {kind for chain in chains for each in chain for kind in kinds_of(tern, each.found)}
    wanted = {
        BranchKind.MISSING_DATA,
        BranchKind.PRECONDITION,
        BranchKind.PROHIBITED,
        BranchKind.TRAP,
        BranchKind.MIXED,
        BranchKind.UNAUTHORISED,
    }
    assert wanted <= kinds


def offered(name: str, roots: int, each: int) -> tuple[Counter[PatchKind], Counter[BranchKind]]:
    """Patches of a built-in domain that make a task, and the kinds of branches that they and their roots are."""
    domain = load(BUILTIN / name)
    world, rng = build_world(domain, 1), random.Random(1)
    patches, kinds = Counter[PatchKind](), Counter[BranchKind]()
    for number in range(roots):
        root = branch(domain, draw_behaviour(domain, world, random.Random(number)))
        kinds.update(kinds_of(domain, root.found))
        for patch in islice(proposed(domain, world, root.found, rng), each):
            child = attempt(domain, world, root, patch)
            if child is not None and not problem(domain, child.found):
                patches[patch.kind] += 1
                kinds.update(kinds_of(domain, child.found))
    return patches, kinds


def test_nobody_wishes_for_the_best_of_the_same_row_twice(tern: Domain, world: World) -> None:
    """ "The cheapest", and then "whatever costs least" of the same trip: each alone is a task."""
    one = draw_behaviour(tern, world, random.Random(3), wish="cheapest")
    (want,) = one.case.wants
    assert not problem(tern, one)

    def after(booking: str) -> str:
        again = replace(want, said={**want.said, "booking_id": booking}, words=want.words + 1)
        return problem(tern, behave(tern, world, replace(one.case, wants=(want, again))))

    assert after(want.said["booking_id"]) == "the best of the same is wished twice"
    other = next(id for id in world.view().ids("bookings") if id != want.said["booking_id"])
    assert "best" not in after(other)


def test_every_kind_of_patch_and_of_branch_occurs() -> None:
    """The whole vocabulary of docs/method.md, in one large domain and the one that a small model can learn."""
    patches, kinds = offered("airline", 10, 21)
    _, more = offered("booking", 6, 14)
    assert not set(PatchKind) - set(patches), patches
    assert not set(BranchKind) - set(kinds + more), kinds + more


def test_the_clock_is_a_patch_that_changes_what_is_right_and_nothing_else(tern: Domain, world: World) -> None:
    seen = 0
    for seed in range(30):
        found = draw_behaviour(tern, world, random.Random(seed))
        for patch in proposed(tern, world, found, random.Random(seed), PatchKind.CLOCK):
            child = attempt(tern, world, branch(tern, found), patch)
            if child is not None:
                seen += 1
                fired = [result.decision.fired for result in child.found.results]
                assert fired != [result.decision.fired for result in found.results]
                assert child.case.edits == found.case.edits and child.case.now == patch.now
    assert seen >= 3


def test_a_claim_is_what_is_not_so_any_more(tern: Domain, world: World) -> None:
    seen = 0
    for seed in range(10):
        found = draw_behaviour(tern, world, random.Random(seed))
        for patch in proposed(tern, world, found, random.Random(seed), PatchKind.CLAIM):
            after = {edit.column: edit.value for edit in patch.edits}
            seen += 1
            assert patch.claims and all(after[name] != value for name, value in patch.claims.items())
    assert seen >= 5


def test_somebody_else_who_asks_the_same_is_somebody_else(tern: Domain, world: World) -> None:
    ends = set()
    for seed in range(12):
        found = draw_behaviour(tern, world, random.Random(seed))
        for patch in proposed(tern, world, found, random.Random(seed), PatchKind.CALLER):
            child = attempt(tern, world, branch(tern, found), patch)
            if child is not None:
                assert child.case.caller != found.case.caller and child.case.knows != found.case.knows
                ends |= {str(ending) for ending in child.found.endings} - {str(e) for e in found.endings}
    assert "denied" in ends


def test_conditional_rules_have_twins_by_one_cell(tern: Domain, world: World, roots: list[Branch]) -> None:
    rng, by_cell = random.Random(3), 0
    for root in roots:
        twin = twin_of(tern, world, root.found, rng)
        if twin is None or twin.how is not How.CELL:
            continue
        by_cell += len(twin.edits) == 1
        assert twin.found.endings != root.found.endings or twin.found.results[-1].rules != root.found.results[-1].rules
        assert document(tern, twin.found.case) == document(tern, root.case)
        assert first_message(tern, world, twin.found.case) == first_message(tern, world, root.case)
    assert by_cell >= ROOTS // 2


@pytest.mark.parametrize(("seed", "how"), [(0, How.CALLER), (2, How.ACT)])
def test_an_unconditional_rule_has_another_caller_or_act_beside_it(
    tern: Domain, world: World, seed: int, how: How
) -> None:
    """Of what nothing else was read for. Whoever cannot name a row is not put into another's place."""
    drawn = draw_behaviour(tern, world, random.Random(seed), "no-cover")
    (*_, last) = drawn.results
    found = replace(drawn, results=(replace(last, decision=replace(last.decision, read=("no-cover",))),))
    twin = twin_of(tern, world, found, random.Random(1))
    assert twin is not None
    assert (twin.how, twin.rule, twin.edits) == (how, "no-cover", ())
    assert differs(found, twin.found)


def test_a_cell_comes_first_where_another_rule_was_read(tern: Domain, world: World) -> None:
    found = draw_behaviour(tern, world, random.Random(0), "no-cover")
    twin = twin_of(tern, world, found, random.Random(1))
    assert twin is not None and twin.how is How.CELL and twin.rule != "no-cover"


def test_nearly_every_conditional_rule_has_a_twin_by_a_cell(tern: Domain, world: World) -> None:
    conditional = [r.id for r in tern.rules if r.verdict not in (None, "identify") and (r.when or r.unless)]
    twins = {}
    for rule in conditional:
        twin = twin_of(tern, world, draw_behaviour(tern, world, random.Random(rule), rule), random.Random(1))
        twins[rule] = twin is not None and twin.how is How.CELL
    assert sum(twins.values()) / len(twins) >= 0.9, twins


def test_a_document_holds_every_verdict_and_says_nothing_of_the_state(tern: Domain, chains: list[list[Branch]]) -> None:
    for chain in chains:
        for each in chain:
            ids = document(tern, each.case)
            assert each.found.rules <= set(ids)
            verdicts = {tern.rule(id).verdict for id in ids}
            assert {"identify", "deny", "hand_over", "instead", "ask"} <= verdicts
            assert document(tern, replace(each.case, edits=(), claims={}, seed=99)) == ids


def test_words_and_look_ups_determine_every_slot(tern: Domain, world: World, chains: list[list[Branch]]) -> None:
    for chain in chains:
        for want in chain[-1].case.wants:
            for option in want.chain():
                assert undetermined(tern, option) == [], rendered(tern, option)
        text = first_message(tern, world, chain[-1].case)
        assert "{" not in text


def test_a_case_is_the_same_after_it_was_written(tern: Domain, world: World, chains: list[list[Branch]]) -> None:
    for chain in chains:
        case = parse_case(json.loads(json.dumps(dump(chain[-1].case))))
        again = behave(tern, world, case)
        assert again.steps == chain[-1].found.steps
        assert (again.final.digest, again.proof) == (chain[-1].found.final.digest, chain[-1].found.proof)
