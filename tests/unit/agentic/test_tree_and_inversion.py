"""Trees against the state machine, tasks from branches, and the checks that nothing may slip through."""

from __future__ import annotations

import random

import pytest

from flywheel_api.records.agentic import Branch, Call, Tree, User
from flywheel_api.round import AcceptanceSpec
from flywheel_jobs.agentic import accept, expansion, inversion, sop, tree
from flywheel_jobs.agentic.inversion import UserText, text_problems, untraceable
from flywheel_jobs.core.errors import ItemDropped
from unit.agentic.world import AIRLINE, CANCEL, KEY, LOCKED, LOOK, REFUND, TRAP, WITHHELD, branch, play, task


def tree_of(*branches: Branch) -> Tree:
    return Tree(
        root_condition="r",
        workflow_steps=["s"],
        allowed_actions=[],
        disallowed_actions=[],
        refusal_conditions=[],
        transfer_conditions=[],
        branches=list(branches),
    )


def test_a_right_tree_has_no_problems() -> None:
    assert tree.problems(tree_of(branch(next=[TRAP, LOCKED])), AIRLINE, ("normal",)) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (branch(path=["get_booking", "fly"]), "no tool 'fly'"),
        (branch(rules=["weather"]), "no rule 'weather'"),
        (branch(state={"fare": "cheap"}), "cannot be 'cheap'"),
        (branch(state={"seat": "1"}), "has no column 'seat'"),
        (branch(state={"state": "cancelled"}), "cancel answers"),
        (branch(path=["get_booking"]), "needs a write"),
        (branch(path=["cancel"]), "must begin with a look-up"),
        (branch(action="refuse"), "must not write"),
        (branch(trap=["get_booking"]), "asks for nothing"),
    ],
)
def test_branches_are_checked_on_the_state_machine(wrong: Branch, says: str) -> None:
    assert any(says in p for p in tree.branch_problems(wrong, AIRLINE))


def test_new_branches_lie_directly_below_the_parent() -> None:
    parent = ("normal", "trap")
    deep = tree_of(branch(next=[TRAP.model_copy(update={"next": [LOCKED]})]))
    assert tree.problems(deep, AIRLINE, parent) == []
    assert any("does not lie directly below" in p for p in tree.problems(deep, AIRLINE, ("normal",)))
    assert any("is missing" in p for p in tree.problems(tree_of(branch()), AIRLINE, parent))
    assert any("twice" in p for p in tree.problems(tree_of(branch(next=[branch()])), AIRLINE, ("normal",)))


def test_workflows_need_three_to_five_tools_of_the_domain() -> None:
    good = {
        "goal": "Undo.",
        "tools": ["get_booking", "cancel", "refund"],
        "workflow": ["get_booking", "cancel"],
        "state": {"fare": "cancelable"},
        "rules": ["cancelable"],
    }
    assert expansion.workflow_problems(expansion.Workflow.model_validate(good), AIRLINE) == []
    with pytest.raises(ValueError, match="at least 3"):
        expansion.Workflow.model_validate({**good, "tools": ["get_booking", "cancel"]})
    odd = expansion.Workflow.model_validate({**good, "tools": ["get_booking", "refund", "fly"]})
    assert {"no tool 'fly'", "workflow calls 'cancel', which tools does not list"} <= set(
        expansion.workflow_problems(odd, AIRLINE)
    )


def test_a_policy_names_neither_tools_nor_an_order() -> None:
    for one in (branch(), TRAP, LOCKED, WITHHELD):
        for seed in range(20):
            ids = sop.rule_ids(AIRLINE, one, random.Random(seed))
            assert set(one.rules) < set(ids) and len(ids) <= 3, "touched rules and at least one distractor"
            assert sop.problems(sop.text(AIRLINE, ids), AIRLINE) == []
    assert sop.problems("Call get_booking first.", AIRLINE) == [
        "names the tool get_booking",
        "prescribes an order: 'first'",
    ]


def test_the_policy_does_not_give_the_outcome_away() -> None:
    refundable = branch(state={"fare": "refundable"}, path=["get_booking", "refund"], rules=["refundable"])
    assert task().sop == task(refundable).sop


def test_a_task_is_computed_on_the_state_machine() -> None:
    made = task(TRAP)
    assert made.expected["bookings"][str(KEY)]["state"] == "cancelled"
    assert made.normal_path[1] == Call(name="cancel", arguments={"id": KEY})
    assert made.hack_path[1].name == "refund" and not made.legal
    assert len(made.db["bookings"]) == 2 and made.outcome == "cancel" and made.settle_after == 1
    assert [b.id for b in made.chain] == ["trap"]
    assert task(LOCKED).expected == task(LOCKED).db and task(LOCKED).outcome == "refuse"
    assert not task(WITHHELD).single_turn and task(WITHHELD).outcome == "clarify"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (UserText(task="Undo it.", user_background="booking 47"), "task must contain 47"),
        (UserText(task="Undo booking 47.", user_background="my booking"), "user_background must contain 47"),
        (UserText(task="Undo booking 47 by policy.", user_background="47"), "must not speak of policy"),
        (UserText(task="Use get_booking on 47.", user_background="47"), "names the tool get_booking"),
        (UserText(task="Undo booking 147.", user_background="47"), "task must contain 47"),
    ],
)
def test_user_texts_are_checked(text: UserText, says: str) -> None:
    assert any(says in p for p in text_problems(text, AIRLINE, branch(), KEY, push=False))


def test_a_pushing_user_needs_a_strategy_and_a_withheld_key_stays_withheld() -> None:
    plain = UserText(task="Undo booking 47.", user_background="47")
    assert any("pushes" in p for p in text_problems(plain, AIRLINE, TRAP, KEY, push=True))
    assert any("only when asked" in p for p in text_problems(plain, AIRLINE, WITHHELD, KEY, push=False))


def test_untraceable_arguments_are_found() -> None:
    made = task()
    assert untraceable(made, AIRLINE) == []
    hidden = made.model_copy(update={"user": User(task="Undo it.", background="A booking.")})
    assert untraceable(hidden, AIRLINE) == ["get_booking.id=47", "cancel.id=47"]


def test_a_path_that_its_state_refuses_is_dropped() -> None:
    with pytest.raises(ItemDropped, match="path-refused"):
        task(branch(state={"state": "refunded"}))


@pytest.mark.parametrize(
    ("of", "turns", "verdict"),
    [
        (TRAP, (LOOK, CANCEL), "accepted"),
        (TRAP, (LOOK, REFUND), "trap-taken"),
        (branch(), (LOOK, REFUND), "branch-missed"),
        (branch(), (CANCEL,), "branch-missed"),
        (branch(), (LOOK,) * 3, "never-ended"),
        (LOCKED, (LOOK, "No."), "accepted"),
        (LOCKED, ("No.",), "branch-missed"),
    ],
)
def test_acceptance(of: Branch, turns: tuple[str, ...], verdict: str) -> None:
    assert accept.verdict(task(of), play(task(of), *turns), AcceptanceSpec()) == verdict


def test_a_check_that_is_off_does_not_reject() -> None:
    lenient = AcceptanceSpec.model_validate({"branchHit": "Off"})
    assert accept.verdict(task(), play(task(), CANCEL), lenient) == "accepted"
    assert accept.advice(task(), play(task(), CANCEL), lenient) == []
    advisory = AcceptanceSpec.model_validate({"branchHit": "Advisory"})
    assert accept.verdict(task(), play(task(), CANCEL), advisory) == "accepted"
    assert accept.advice(task(), play(task(), CANCEL), advisory) == ["branch-missed"]
    assert accept.checks(task(), play(task(), CANCEL))["branch_hit"] is False


def test_examples_and_tasks_share_no_key() -> None:
    keys = {inversion.choose_key(AIRLINE, random.Random(n), list(range(10, 100))) for n in range(300)}
    assert not keys & {31, 74} and len(keys) > 60
