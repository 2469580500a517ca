"""Families and the scripted teacher and solver."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_api.common import BUILTIN_DOMAINS
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Problem
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import BUILTIN_SUITES, SuiteSpec
from flywheel_jobs.agentic import heldout
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.evaluation import suites
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.rollouts import failed_problems
from flywheel_jobs.reasoning.text import normalised, numbers
from flywheel_jobs.seeds import arithmetic, personas
from flywheel_jobs.seeds.arithmetic import ARITY, TEMPLATES, Typed
from flywheel_standin import reasoning as standin
from flywheel_standin.protocol import ChatRequest

FAMILIES = tuple(ARITY)
NO_STORE: Any = None  # built-in suites read nothing
NO_SHELF: Any = None


@settings(deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(1, 2), st.integers(0, 10**6))
def test_two_methods_agree_on_every_drawn_problem(family: str, difficulty: int, seed: int) -> None:
    typed = Typed(family, arithmetic.draw_values(family, difficulty, random.Random(seed)))
    assert typed.answer() is not None
    assert standin.brute_force(typed) == typed.answer()
    for side in TEMPLATES[family].values():
        for form in side:
            text = arithmetic.render(typed, form, "train" if form in TEMPLATES[family]["train"] else "heldout")
            assert standin.understand(text) == typed


def test_sides_share_no_operands_and_no_template() -> None:
    train = arithmetic.generate(random.Random(1), 100, "train", FAMILIES)
    held = arithmetic.generate(random.Random(2), 100, "heldout", FAMILIES)
    key = {s: {arithmetic.operand_key(tuple((p.typed or {})["values"])) for p in side} for s, side in
           (("train", train), ("held", held))}  # fmt: skip
    assert key["train"].isdisjoint(key["held"])
    assert {p.template for p in train}.isdisjoint({p.template for p in held})
    assert not any(arithmetic.SHOT_OPERANDS in k for k in key.values())
    for family in FAMILIES:
        texts = [{normalised(form) for form in TEMPLATES[family][side].values()} for side in ("train", "heldout")]
        assert texts[0].isdisjoint(texts[1])  # not even but for punctuation
        assert set(TEMPLATES[family]["train"].values()).isdisjoint(TEMPLATES[family]["heldout"].values())


def test_generation_is_seeded_distinct_and_easy_first() -> None:
    one = arithmetic.generate(random.Random(5), 60, "train")
    assert one == arithmetic.generate(random.Random(5), 60, "train")
    assert len({p.question for p in one}) == 60 and {p.level for p in one} == {1}
    assert one[0].messages()[:3] == [
        {"role": "system", "content": "Compute."},
        {"role": "user", "content": "2+4"},
        {"role": "assistant", "content": "6"},
    ]


def test_suites_do_not_depend_on_any_round() -> None:
    spec = SuiteSpec(name="arithmetic-heldout", items=24)
    assert suites.build(spec, [], NO_STORE, {}, NO_SHELF) == suites.build(spec, [], NO_STORE, {}, NO_SHELF)
    assert len({p.id for p in suites.build(spec, [], NO_STORE, {}, NO_SHELF).problems}) == 24


def test_the_api_knows_the_suites_and_domains_that_are_built_in() -> None:
    assert set(BUILTIN_DOMAINS) == {folder.parent.name for folder in packages.BUILTIN.glob("*/domain.yaml")}
    tasks = set(BUILTIN_SUITES) - set(suites.REASONING)
    assert {heldout.domain_of_suite(name) for name in tasks} == set(BUILTIN_DOMAINS)


@pytest.mark.parametrize("value", [None, {}, {"family": "add", "values": [1]}, {"family": "add", "values": ["1", 2]},
                                   {"family": "no", "values": [1, 2]}, {"family": "add", "values": [True, 2]},
                                   {"family": "add", "values": [10**12, 2]}])  # fmt: skip
def test_typed_problems_are_parsed_strictly(value: object) -> None:
    with pytest.raises(ValueError):
        Typed.parse(value)


def ask(operator: str, typed: Typed, variant: int = 0, persona: personas.Persona | None = None) -> ChatRequest:
    parent = Problem(id="p", question=arithmetic.render(typed, next(iter(TEMPLATES[typed.family]["train"]))),
                              typed=typed.dump())  # fmt: skip
    messages = roles.teacher_messages(parent, operator, variant, persona)
    return ChatRequest(model="teacher", messages=messages)


def test_teacher_is_deterministic_and_sometimes_bad_at_known_rates() -> None:
    typed = Typed("add", (3, 5))
    answers = [standin.respond(ask("change-values", typed, i)) for i in range(400)]
    assert answers == [standin.respond(ask("change-values", typed, i)) for i in range(400)]
    malformed = sum(not a.text.startswith("{") for a in answers if a)
    parsed = [json.loads(a.text) for a in answers if a and a.text.startswith("{")]
    ill = sum(p["typed"] is None for p in parsed)
    assert 0 < malformed / 400 < 2.5 * standin.MALFORMED_SHARE
    assert 0.5 * standin.ILL_POSED_SHARE < ill / len(parsed) < 2 * standin.ILL_POSED_SHARE
    for value in parsed:
        roles.Variant.model_validate(value)
        if value["typed"]:
            assert standin.understand(value["question"]) == Typed.parse(value["typed"])


@pytest.mark.parametrize("operator", roles.UPWARDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_gives_an_answerable_problem(operator: str, family: str) -> None:
    rng = random.Random(f"{operator}{family}")
    typed = Typed(family, arithmetic.draw_values(family, 1, rng))
    new = standin.mutated(typed, operator, rng)
    assert Typed.parse(new.dump()) == new and new.answer() is not None


def test_structural_operators_by_band() -> None:
    assert roles.structural("hard", 4) == [("change-values", i) for i in range(4)]
    assert roles.structural("frontier", 2) == [("change-values", 0), ("raise-difficulty", 0)]
    for band in ("hard", "frontier"):
        orders = roles.structural(band, 30)
        assert len(set(orders)) == 30 and {op for op, _ in orders} <= set(roles.INSTRUCTIONS)


def test_reskinning_keeps_the_values_and_the_answer_most_of_the_time() -> None:
    kept, total = 0, 200
    person = personas.builtin()[7]
    for i in range(total):
        typed = Typed("add", (i % 9 + 1, i % 7 + 1))
        answer = standin.respond(ask(roles.PERSONA, typed, i, person))
        assert answer is not None
        if not answer.text.startswith("{"):
            continue
        question = json.loads(answer.text)["question"]
        kept += numbers(question) == numbers(arithmetic.render(typed, "plus"))
    assert 0.75 * total < kept < total


def test_solver_agrees_on_answerable_and_disagrees_on_ill_posed_questions() -> None:
    def votes(question: str) -> set[str]:
        requests = [ChatRequest("s", roles.solver_messages(question), seed=i) for i in range(3)]
        return {a.text.split("<answer>")[1] for r in requests if (a := standin.respond(r))}

    assert votes("Bob has 9 buns and loses 2. Buns?") == {"7</answer>"}
    assert len(votes("3+ some number")) > 1


def test_personas_split_is_stable_disjoint_and_refuses_an_empty_side() -> None:
    people = personas.builtin()
    training, held = personas.split(people, 0.2)
    assert len(training) + len(held) == len(people) == len({p.id for p in people})
    assert 0.1 < len(held) / len(people) < 0.3
    assert personas.split(people[:50], 0.2)[1] == [p for p in people[:50] if p in held]
    with pytest.raises(ValidationFailure, match="more personas"):
        personas.split(training[:3], 0.2)


def test_rollouts_give_back_what_training_still_fails_at() -> None:
    def rollout(item: str, score: float | None, truth: str | None = "7", step: int = 1) -> Trajectory:
        messages = [{"role": "user", "content": item}, {"role": "assistant", "content": "9"}]
        given = {"track": Track.REASONING, "item": item, "truth": truth, "score": score, "step": step}
        return Trajectory(id=item, messages=messages, **given)

    found = failed_problems(
        [rollout("3+4", 0.5), rollout("3+4", 0.5), rollout("5+2", 1.0), rollout("5+2", 1.0), rollout("1+6", None),
         rollout("2+5", 1.0), rollout("2+5", 0.0), rollout("6+1", 0.0, None)]
    )  # fmt: skip
    assert [(p.question, p.answer) for p in found] == [("2+5", "7"), ("3+4", "7")], "what is learnt of comes first"
    early = [
        rollout("9+9", 0.0, "18"),
        rollout("9+9", 1.0, "18", 4),
        rollout("8+9", 1.0, "17"),
        rollout("8+9", 0.0, "17", 4),
    ]
    assert [p.question for p in failed_problems(early)] == ["8+9"], "the last visit decides, not the first"


def test_a_problem_comes_back_from_the_rollouts_with_its_lineage() -> None:
    lineage = Lineage(parent_ids=["p"], operator="change-values", root_id="seed-1", round="r1")
    problem = Problem(id="v", question="3+4", answer="7", family="add", level=2, lineage=lineage)
    kept = Trajectory(id="t", track=Track.REASONING, item="v", score=0.0, truth="7", problem=problem)
    assert failed_problems([kept]) == [problem]
