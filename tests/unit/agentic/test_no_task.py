"""What becomes no seed, no branch and no task: wrong words, what is none, what has no room, what nobody can find out.

Each check is seen where it stands alone: what a later one would catch as well is not reached here.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import flywheel_domains
from flywheel_api.records.agentic import Seed
from flywheel_api.records.base import Lineage
from flywheel_api.round import Role, SeedMode
from flywheel_domains import branches
from flywheel_domains.case import Want
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.patches import Patch, PatchKind
from flywheel_jobs.agentic import growth, pairs, prompt, rounds
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.right import Right, compute, has_room, steps
from flywheel_jobs.agentic.targets import Target, root_of, spoken
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import UserText
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.stages import invert_agentic, seed_agentic
from unit.agentic.context import PEOPLE, Context, Says, agentic
from unit.agentic.world import ANN, KEY, LOCKED, OTHER, PACKAGE, WITHHELD, case, domain, other, right, task

BOOKING = Path(flywheel_domains.__file__).parent / "builtin" / "booking" / "domain.yaml"
TERN = Path(__file__).parents[1] / "domains" / "tern"


# ---- words -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Undo my booking.", f"must contain {KEY}"),
        (f"The policy says: undo booking {KEY}.", "must not speak of policy"),
    ],
)
async def test_words_that_say_too_little_or_too_much_make_no_seed_and_no_task(said: str, why: str) -> None:
    ctx: Any = Context(agentic(), {})
    ctx.models[Role.TEACHER] = Says(Role.TEACHER, task=said, background="They call.")
    plan = seed_agentic.Plan("booking", PACKAGE, right(), ANN, 0)
    target = Target("tree", Lineage(operator="x"), PACKAGE, (root_of(right()),), right(), ANN)
    with pytest.raises(ItemDropped, match=f"invalid-user-text: .*{why}"):
        await seed_agentic._seed(ctx, plan, SeedMode.LINEAR)
    with pytest.raises(ItemDropped, match=f"invalid-user-text: .*{why}"):
        await invert_agentic._invert(ctx, target, False)
    ctx.models[Role.TEACHER] = Says(Role.TEACHER, task=f"Undo booking {KEY}.", background="They call.")
    assert (await seed_agentic._seed(ctx, plan, SeedMode.LINEAR)).task.user.task == f"Undo booking {KEY}."


# ---- people ----------------------------------------------------------------------------------------------------------
def test_branches_are_spoken_by_all_people_and_personas_in_turn() -> None:
    """The round's people and the domain's personas, though all of them grew below one person's seed."""
    target = Target("tree", Lineage(operator="x"), PACKAGE, (root_of(right()),), right(), ANN)
    found = spoken([target] * 12, PEOPLE, random.Random(1))
    for speakers in ([t.persona.id for t in found], [t.right.case.persona for t in found]):
        often = Counter(speakers).values()
        assert len(often) >= 5 and max(often) - min(often) <= 1, speakers


def test_seeds_of_one_kind_are_of_all_people_that_have_one() -> None:
    seeds = []
    for n in range(12):
        of, persona = task().model_copy(update={"id": f"t{n}"}), PEOPLE[max(0, n - 8)]
        lineage = of.lineage.model_copy(update={"persona_id": persona.id})
        seeds.append(Seed(id=f"s{n:02}", lineage=lineage, persona=persona, task=of, fresh=False))
    kept = rounds.failed_first(seeds, [], 4, 4, 1.0)
    assert {seed.persona.id for seed in kept} == {person.id for person in PEOPLE[:4]}


# ---- no task ---------------------------------------------------------------------------------------------------------
def test_a_name_that_is_to_be_changed_twice_is_no_branch() -> None:
    """The second time there is nothing left to do, so that an agent cannot be right or wrong in it."""
    tern = load(TERN)
    found = draw_behaviour(tern, build_world(tern, 1), random.Random(6))
    assert [want.wish for want in found.case.wants] == ["rename"]
    twice = Patch(PatchKind.WISH, want=found.case.wants[0])
    assert growth.accepted(Right(tern, found.case, found), twice) == growth.INVALID
    above = branches.branch(tern, found)
    below = branches.attempt(tern, found.start, above, twice)
    assert below is not None and branches.accept(tern, above, below) == "the same is wished twice"


# ---- room ------------------------------------------------------------------------------------------------------------
def test_what_has_more_steps_than_the_policy_has_turns_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look and a write, a look and a refusal; a question before them is one more."""
    hide = Patch(PatchKind.HIDE, slots=frozenset({"id"}))
    assert [len(steps(right(of))) for of in (case(), LOCKED, WITHHELD)] == [2, 1, 3]
    for turns, room in ((3, [True, True, True]), (2, [True, True, False]), (1, [False, False, False])):
        monkeypatch.setattr(prompt, "COMPACT", prompt.Limits(turns, 64))
        assert [has_room(right(of)) for of in (case(), LOCKED, WITHHELD)] == room
        assert (growth.accepted(right(), hide) == growth.NO_ROOM) is (turns < 3)
        assert bool(list(draw_cases(domain(), Side.TRAINING, "room", 3))) is (turns > 1)
        assert (pairs.twin(right(), random.Random(0)) is not None) is (turns > 1)


def test_an_episode_of_a_compact_domain_is_about_one_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many turns it has: its prompt explains one, and it is settled after the first write."""
    monkeypatch.setattr(prompt, "COMPACT", prompt.Limits(64, 64))
    both = right(other(case(), wants=(Want("undo", {"id": KEY}), Want("undo", {"id": OTHER}))))
    assert len(steps(both)) < 8 and has_room(right()) and not has_room(both)


# ---- no proof --------------------------------------------------------------------------------------------------------
@pytest.fixture
def blind(tmp_path: Path) -> Domain:
    """The small table, of which nothing shows whether a booking is done."""
    text = BOOKING.read_text()
    assert "show: [fare, owner, done]" in text
    (tmp_path / "domain.yaml").write_text(text.replace("show: [fare, owner, done]", "show: [fare, owner]"))
    return load(tmp_path)


def test_what_nothing_shows_is_drawn_grown_and_made_into_a_task_by_nobody(blind: Domain) -> None:
    found = compute(blind, case())
    assert all(steps(found) for found in draw_cases(blind, Side.TRAINING, "blind", 3)), "of those that need not be seen"
    with pytest.raises(ItemDropped, match=r"unprovable: .*done"):
        build_task(PACKAGE, found, ANN, UserText(task=f"Undo booking {KEY}.", background="b"), Lineage(operator="x"))
    seen = branches.branch(domain(), right().behaviour)  # as if its parent had been provable
    assert branches.attempt(blind, build_world(blind, 0), seen, Patch(PatchKind.HIDE, slots=frozenset({"id"}))) is None
