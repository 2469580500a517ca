"""What the stages of the agentic track keep out, one protection after the other, without servers: on the small table.

Each is seen where the stage does it, not in the part that it calls (tests/unit/agentic/test_flywheel.py has those).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from flywheel_api.records.agentic import Fingerprint, Grown, Seed, Task, TreeRecord
from flywheel_api.records.base import Lineage, PassRate
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import SolvedResult, Track
from flywheel_api.round import Role
from flywheel_jobs.agentic import drive, growth, kinds, rounds
from flywheel_jobs.agentic.distinct import EARLIER, HELD_OUT, NEAR, Distinct, fingerprint, near_right
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.right import Right, dump_case, right_of
from flywheel_jobs.agentic.targets import Target, root_of, twins_of
from flywheel_jobs.stages import invert_agentic, seed_agentic, solve_agentic
from unit.agentic.context import PEOPLE, Context, agentic
from unit.agentic.world import ANN, CANCEL, LOCKED, LOOK, PACKAGE, TRAP, WITHHELD, domain, play, shelf, task


@pytest.fixture(autouse=True)
def shelves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages' packages, without a store."""
    for stage in (invert_agentic, seed_agentic, solve_agentic):
        monkeypatch.setattr(stage, "shelf_of", lambda ctx: shelf())


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain draws begin where they always do, though other things were asked: they come upon what was."""
    monkeypatch.setattr(Distinct, "so_far", "sha256:r")


def drawn(count: int, seed: str = "protections") -> list[Right]:
    return list(draw_cases(domain(), Side.TRAINING, seed, count))


def tree(of: Task, number: int = 0, fresh: bool = True, branches: int = 0) -> TreeRecord:
    lineage = Lineage(operator="expand", persona_id=ANN.id)
    seed = Seed(id=f"seed-{number}", lineage=lineage, persona=PEOPLE[number % 6], task=of, fresh=fresh)
    found = growth.offers(drawn_right(of), random.Random(number), branches) if branches else ()
    grown = [Grown(branch=o.branch, case=dump_case(o.right.case), level=o.level(1), steps=o.depth.steps) for o in found]
    return TreeRecord(id=f"tree-{number}", lineage=lineage, seed=seed, observed={}, branches=grown)


def drawn_right(of: Task) -> Right:
    return right_of(shelf(), of)


def tasks(count: int) -> list[Task]:
    return [task(right.case) for right in drawn(count)]


def chosen(ctx: Context) -> list[Target]:
    return invert_agentic._chosen(ctx, ctx.agentic)[1]  # type: ignore[arg-type]


def asks(targets: Sequence[Target]) -> list[str]:
    return [near_right(target.package, target.right) for target in targets]


# ---- inversion: nothing twice ----------------------------------------------------------------------------------------
def test_a_round_asks_nothing_twice_whichever_tree_or_twin_it_comes_from() -> None:
    same, other = task(), task(LOCKED)
    ctx = Context(
        agentic(maxTasks=8), {"trees.jsonl": [tree(t, n, branches=6) for n, t in enumerate((same, same, other))]}
    )
    found = asks(chosen(ctx))
    assert ctx.dropped[NEAR] > 0 and len(set(found)) == len(found) > 4


@pytest.mark.usefixtures("same_draws")
def test_twins_are_new_as_well() -> None:
    """The twin of a case may be another tree's case, or an earlier round's."""
    trees = [tree(task(LOCKED)), tree(task(), 1)]
    twin = next(t for t in chosen(Context(agentic(maxTasks=12), {"trees.jsonl": trees})) if t.of)
    asked = [fingerprint(task(twin.right.case))]
    ctx = Context(agentic(maxTasks=12), {"trees.jsonl": trees, "asked.jsonl": asked})
    assert asked[0].near not in asks(chosen(ctx)) and ctx.dropped[EARLIER] >= 1


def test_twins_bring_the_sides_nearer_to_their_shares() -> None:
    found = [
        Target(f"tree-{n}", Lineage(operator="x"), PACKAGE, (root_of(right),), right, PEOPLE[n % 6])
        for n, right in enumerate(drawn(40))
    ]
    for share in (0.0, 1.0):
        pairs = twins_of(found, random.Random(1), len(found) + 6, share)
        twins = [target for target in pairs if target.of]
        assert [twin.legal for twin in twins] == [share == 1.0] * 6
        assert all(pairs[pairs.index(twin) - 1].key == twin.of for twin in twins), "a pair is kept together"


def test_a_kind_that_no_tree_has_is_drawn() -> None:
    """A few trees are of a few kinds, and what grows below them is, too."""
    found = drawn(120)
    kept = [r for r in found if kinds.kind_of(r) in ("normal", "precondition")]
    trees = [tree(task(right.case), n) for n, right in enumerate(kept)]
    assert len({kinds.kind_of(right) for right in found}) > 2 and len(trees) >= 24
    for share, more in (("0.3", True), ("0", False)):
        ctx = Context(agentic(maxTasks=16, freshShare=share), {"trees.jsonl": trees})
        seen = {target.kind for target in chosen(ctx) if not target.of}
        assert (len(seen) > 2) is more, seen


@pytest.mark.parametrize(("where", "reason"), [("asked.jsonl", EARLIER), ("suites/booking-heldout.jsonl", HELD_OUT)])
def test_what_earlier_rounds_or_suites_ask_becomes_no_task(where: str, reason: str) -> None:
    before = task(TRAP)
    known: Sequence[Any] = [fingerprint(before)] if reason == EARLIER else [before]
    ctx = Context(
        agentic(maxTasks=8),
        {"trees.jsonl": [tree(before), tree(task(), 1), tree(task(LOCKED), 2)], where: known},
        ["booking-heldout"],
    )
    found = asks(chosen(ctx))
    assert fingerprint(before).near not in found and found and ctx.dropped[reason] >= 1


# ---- inversion: balance ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("share", ["0.25", "0.5"])
def test_allowed_and_refused_wishes_kinds_and_people_are_in_their_shares(share: str) -> None:
    trees = [tree(t, n) for n, t in enumerate(tasks(60))]
    ctx = Context(agentic(maxTasks=16, legalShare=share), {"trees.jsonl": trees, "seeds/personas.jsonl": PEOPLE})
    originals = [target for target in chosen(ctx) if not target.of]
    legal = [kinds.legal(target.right) for target in originals]
    assert abs(sum(legal) / len(legal) - float(share)) <= 0.13
    strata = Counter(
        (ok, (target.kind, target.right.behaviour.endings)) for ok, target in zip(legal, originals, strict=True)
    )
    every = Counter((kinds.legal(r), (kinds.kind_of(r), r.behaviour.endings)) for r in map(drawn_right, tasks(60)))
    assert len(strata) >= min(len(every), len(originals)) - 2
    assert len({target.persona.id for target in originals}) == len(PEOPLE)


def test_users_insist_in_the_share_of_refused_wishes_that_is_asked_for() -> None:
    trees = [tree(t, n) for n, t in enumerate(tasks(40))]
    ctx = Context(agentic(maxTasks=30), {"trees.jsonl": trees})
    found = chosen(ctx)
    refused = {target.key for target in found if not kinds.legal(target.right)}
    for share in (0.0, 0.5, 1.0):
        pushed = invert_agentic._pushed(ctx, found, share)  # type: ignore[arg-type]
        assert pushed <= refused and len(pushed) == round(share * len(refused))


# ---- seeds -----------------------------------------------------------------------------------------------------------
def plans(ctx: Context, past: rounds.Before, count: int) -> list[seed_agentic.Plan]:
    return seed_agentic._plans(ctx, ctx.agentic, past, count)  # type: ignore[arg-type]


@pytest.mark.usefixtures("same_draws")
def test_fresh_seeds_are_what_nobody_was_asked_and_speak_for_those_who_did_not() -> None:
    spec, people = agentic(maxTasks=70), {"seeds/personas.jsonl": PEOPLE}
    first = plans(Context(spec, people), rounds.Before(), 6)
    assert len(first) == 6 and len({p.persona.id for p in first}) == 6
    assert [sum(kinds.legal(p.right) for p in plans(Context(spec, people), rounds.Before(), n)) for n in (1, 5, 6)] == [
        1,
        3,
        3,
    ]
    known = [task(plan.right.case) for plan in first]
    spoke = Seed(
        id="s", lineage=Lineage(operator="x", persona_id=first[0].persona.id), persona=ANN, task=known[0], fresh=False
    )
    ctx = Context(spec, people)
    second = plans(ctx, rounds.Before([spoke], [], [fingerprint(t) for t in known[:3]]), 6)
    assert ctx.dropped[EARLIER] == 3 and second[-1].persona.id == first[0].persona.id
    assert not {near_right(p.package, p.right) for p in second} & {fingerprint(t).near for t in known[:3]}
    ctx = Context(spec, {**people, "suites/booking-heldout.jsonl": known[:2]}, ["booking-heldout"])
    plans(ctx, rounds.Before(), 6)
    assert ctx.dropped[HELD_OUT] == 2


def test_a_later_round_begins_with_other_cases() -> None:
    """By what was asked before it, and not only because that is left out."""
    ctx = Context(agentic(maxTasks=70), {"seeds/personas.jsonl": PEOPLE})
    first, later = (plans(ctx, rounds.Before(asked=asked), 6) for asked in ([], [fingerprint(task(LOCKED))]))
    assert [p.right.case for p in first] != [p.right.case for p in later] and not ctx.dropped[EARLIER]


@pytest.mark.parametrize(("grown", "fresh"), [(0, 10), (3, 7), (7, 3), (50, 3)])
def test_new_workflows_stand_beside_grown_trees_in_their_share(grown: int, fresh: int) -> None:
    assert seed_agentic.fresh_wanted(agentic(maxTasks=70, branchesPerTree=6), grown) == fresh


def test_a_task_of_another_version_of_a_package_seeds_nothing_and_stays_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now, old = task(), task(TRAP).model_copy(update={"package": "sha256:" + "0" * 64})
    seen = [
        Trajectory(id=f"t{n}", track=Track.AGENTIC, item=of.id, step=1, score=0.0, task=of)
        for n, of in enumerate((now, old))
    ]
    monkeypatch.setattr(rounds, "read_rollouts", lambda store, digest: seen)
    monkeypatch.setattr(rounds, "handed_on", lambda store, digests: [])
    ctx: Any = Context(agentic(), {"seeds/personas.jsonl": [ANN]})
    past = rounds.before(ctx, {"booking": PACKAGE})
    assert [s.task.id for s in past.seeds] == [now.id] == [t.item for t in past.rollouts]
    assert {f.near for f in past.asked} == {fingerprint(now).near, fingerprint(old).near}


# ---- solving ---------------------------------------------------------------------------------------------------------
async def test_every_kept_task_holds_what_solver_and_policy_reached_and_hands_its_fingerprint_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = task()
    turns = {
        Role.SOLVER: [[], [LOOK, CANCEL]],
        Role.POLICY: [[LOOK, CANCEL], [CANCEL]],
    }  # fails once; right once of two

    async def run(of: Task, right: Right, llm: Any, user: Any = None, **_: Any) -> Any:
        return play(None, *(turns[llm.role].pop(0) or ["I will not."]))

    monkeypatch.setattr(drive, "run", run)
    earlier = Fingerprint(id="f", lineage=Lineage(operator="x"), near="n")
    ctx: Any = Context(
        agentic(difficulty={"low": "0.1", "high": "0.9", "samples": 2}), {"tasks.jsonl": [of], "asked.jsonl": [earlier]}
    )
    made = await solve_agentic.run(ctx)
    assert isinstance(made.result, SolvedResult) and made.result.bands == {"frontier": 1}
    (solved,) = made.result.difficulty
    assert (solved.solver_n, solved.solver_k, solved.policy_n, solved.policy_k) == (2, 1, 2, 1)
    files = {file.path: file for file in made.files}
    kept = next(iter(files["tasks.jsonl"].content.decode().splitlines()))
    back = Task.model_validate_json(kept)
    assert (back.solver_pass, back.policy_pass) == (PassRate(n=2, k=1), PassRate(n=2, k=1))
    handed = [Fingerprint.model_validate_json(line).near for line in files["seen.jsonl"].content.decode().splitlines()]
    assert handed == ["n", fingerprint(of).near]


async def test_a_task_that_the_solver_does_not_reach_is_kept_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(of: Task, right: Right, llm: Any, user: Any = None, **_: Any) -> Any:
        return play(None, *(["I will not."] if of.id == lost.id else [LOOK, CANCEL]))

    monkeypatch.setattr(drive, "run", run)
    reached = task()
    lost = reached.model_copy(update={"id": "lost"})
    ctx: Any = Context(agentic(), {"tasks.jsonl": [reached, lost]})
    made = await solve_agentic.run(ctx)
    files = {file.path: file.content.decode().splitlines() for file in made.files}
    assert [Task.model_validate_json(line).id for line in files["tasks.jsonl"]] == [reached.id]
    assert len(files["seen.jsonl"]) == 1 and len(files["attempts.jsonl"]) == 1 + agentic().solver.attempts


def test_dialogues_of_a_compact_domain_are_solved_and_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx: Any = Context(agentic(), {})
    alone, dialogues = solve_agentic.trainable(ctx, [task(), task(WITHHELD)])
    assert [t.single_turn for t in alone] == [True] and [t.single_turn for t in dialogues] == [False]
