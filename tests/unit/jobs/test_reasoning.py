"""Families and the scripted teacher and solver."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from flywheel_api.common import BUILTIN_DOMAINS
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import SuiteSpec
from flywheel_api.round_evaluation import BUILTIN_SUITES, NUMERACY
from flywheel_jobs.agentic import heldout
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.evaluation import strata, suites
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.rollouts import failed_problems
from flywheel_jobs.reasoning.text import normalised, numbers
from flywheel_jobs.seeds import numeracy, personas
from flywheel_jobs.seeds.numeracy import FAMILIES, LEVELS, Typed
from flywheel_standin import reasoning as standin
from flywheel_standin.protocol import ChatRequest

SIDES: tuple[numeracy.Split, ...] = ("train", "heldout")
NO_STORE: Any = None  # built-in suites read nothing
NO_SHELF: Any = None


STRATA = [(family, level) for family in FAMILIES for level in range(1, LEVELS + 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_methods_agree_on_every_level_in_every_wording(family: str) -> None:
    for level in range(1, LEVELS + 1):
        rng = random.Random(f"{family}{level}")
        for _ in range(4):
            typed = Typed(family, level, numeracy.draw_values(family, level, rng))
            assert typed.answer() is not None and standin.brute_force(typed) == typed.answer()
            assert Typed.parse(typed.dump()) == typed
            for wording in (*typed.form.train, *typed.form.heldout):
                found = standin.understand(numeracy.render(typed, wording))
                assert found is not None and (found.family, found.answer()) == (family, typed.answer())
                assert found.level <= level  # the same words at a lower level ask for smaller values


def test_ten_families_are_as_data_and_no_wording_is_on_two_sides() -> None:
    assert len(FAMILIES) == 10 and {len(levels) for levels in FAMILIES.values()} == {LEVELS}
    all_forms = {id(level.form): level.form for levels in FAMILIES.values() for level in levels}.values()
    sides = [{normalised(w) for form in all_forms for w in numeracy.wordings(form, side)} for side in SIDES]
    assert sides[0].isdisjoint(sides[1])  # not even but for punctuation
    stories = [form for form in all_forms if "{name}" in form.train[0]]
    assert len(stories) >= 10 and all("{name}" in w for form in stories for w in (*form.train, *form.heldout))
    assert {n for n, _ in numeracy.TRAIN_PEOPLE}.isdisjoint(n for n, _ in numeracy.HELDOUT_PEOPLE)
    assert {n for n, _ in numeracy.HELDOUT_PEOPLE}.isdisjoint(p.name for p in personas.builtin())


def test_the_full_suite_has_every_stratum_and_a_small_one_is_mostly_easy() -> None:
    full = suites.build(SuiteSpec(name=NUMERACY), [], NO_STORE, {}, NO_SHELF).problems
    assert len({p.question for p in full}) == len(full) == suites.NUMERACY_ITEMS >= 200
    assert len({strata.facts_of(p) for p in full}) == len(full)
    assert {(p.family, p.level) for p in full} == set(STRATA)
    assert all(strata.strata_of(p) == {"family": p.family, "level": str(p.level)} for p in full)
    small = suites.build(SuiteSpec(name=NUMERACY, items=60), [], NO_STORE, {}, NO_SHELF).problems
    assert Counter(p.level for p in small) == {1: 30, 2: 20, 3: 10}
    assert set(Counter(p.family for p in small).values()) == {6}
    assert small == full[:60]  # scores of a small draw are of items of the full one


def test_seeds_and_variants_ask_nothing_that_the_suite_asks() -> None:
    held = numeracy.suite(random.Random(2), suites.NUMERACY_ITEMS)
    seeds = numeracy.seeds(random.Random(1), 200, tuple(FAMILIES))
    rng = random.Random(3)
    variants = [standin.mutated(Typed.parse(p.typed), op, rng) for p in seeds for op in standin.UP]
    asked = [tuple((p.typed or {})["values"]) for p in seeds] + [v.values for v in variants]
    keys = [numeracy.values_key(tuple((p.typed or {})["values"])) for p in held]
    leaked = sum(numeracy.values_key(values) in keys for values in asked)
    assert not {p.template for p in seeds} & {p.template for p in held}
    assert leaked / len(asked) < standin.HELDOUT_SHARE  # of these, what the suite asks is found by decontamination
    assert all(numeracy.side_of(tuple((p.typed or {})["values"])) == "train" for p in seeds)
    assert numeracy.SHOT_VALUES not in {*keys, *(numeracy.values_key(v) for v in asked)}


def test_seeds_are_seeded_distinct_easy_first_and_of_their_families_in_turn() -> None:
    families = numeracy.BUILTIN_SEEDS["builtin://numeracy"]
    one = numeracy.seeds(random.Random(5), 60, families)
    assert one == numeracy.seeds(random.Random(5), 60, families)
    assert len({p.question for p in one}) == 60 and {p.level for p in one} == {1}
    assert Counter(p.family for p in one) == dict.fromkeys(families, 15)
    assert one[0].messages()[:3] == [
        {"role": "system", "content": "Compute."},
        {"role": "user", "content": "2+4"},
        {"role": "assistant", "content": "6"},
    ]
    assert {p.level for p in numeracy.seeds(random.Random(5), 120, ("mul",))} == {1, 2}


def test_suites_do_not_depend_on_any_round() -> None:
    spec = SuiteSpec(name=NUMERACY, items=24)
    assert suites.build(spec, [], NO_STORE, {}, NO_SHELF) == suites.build(spec, [], NO_STORE, {}, NO_SHELF)
    assert len({p.id for p in suites.build(spec, [], NO_STORE, {}, NO_SHELF).problems}) == 24


def test_the_api_knows_the_suites_and_domains_that_are_built_in() -> None:
    assert set(BUILTIN_DOMAINS) == {folder.parent.name for folder in packages.BUILTIN.glob("*/domain.yaml")}
    tasks = set(BUILTIN_SUITES) - {NUMERACY}
    assert {heldout.domain_of_suite(name) for name in tasks} == set(BUILTIN_DOMAINS)


@pytest.mark.parametrize("value", [None, {}, {"family": "add", "level": 1, "values": [1]},
                                   {"family": "add", "level": 1},
                                   {"family": "no", "level": 1, "values": [1, 2]}, {"family": "add", "values": [1, 2]},
                                   {"family": "add", "level": 7, "values": [1, 2]},
                                   {"family": "add", "level": 1, "values": ["1", 2]},
                                   {"family": "add", "level": 1, "values": [True, 2]},
                                   {"family": "add", "level": 1, "values": [10**12, 2]}])  # fmt: skip
def test_typed_problems_are_parsed_strictly(value: object) -> None:
    with pytest.raises(ValueError):
        Typed.parse(value)


def ask(operator: str, typed: Typed, variant: int = 0, persona: Persona | None = None) -> ChatRequest:
    parent = Problem(id="p", question=numeracy.render(typed, typed.form.train[0]), typed=typed.dump())
    messages = roles.teacher_messages(parent, operator, variant, persona)
    return ChatRequest(model="teacher", messages=messages)


def test_teacher_is_deterministic_and_sometimes_bad_at_known_rates() -> None:
    typed = Typed("add", 1, (3, 5))
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
            found = standin.understand(value["question"])
            assert found is not None and found.values == Typed.parse(value["typed"]).values


@pytest.mark.parametrize("family", FAMILIES)
def test_variants_go_a_level_up_a_level_down_and_to_other_families(family: str) -> None:
    rng = random.Random(family)
    moves = {**{up: {4} for up in standin.UP}, standin.DOWN: {2}, "change-values": {3}, "invert": {3}}
    typed = Typed(family, 3, numeracy.draw_values(family, 3, rng))
    for operator, levels in moves.items():
        new = [standin.mutated(typed, operator, rng) for _ in range(8)]
        assert {n.level for n in new} == levels and all(n.answer() is not None for n in new)
        assert operator in roles.INSTRUCTIONS
    across = {standin.mutated(typed, standin.ACROSS, rng).family for _ in range(40)}
    assert across == set(standin.RELATED[family]) and family not in across
    edge = [
        standin.mutated(Typed(family, level, typed.values), op, rng).level
        for level, op in ((1, standin.DOWN), (LEVELS, "compose"))
    ]
    assert edge == [1, LEVELS]


def test_every_family_is_reached_from_every_other() -> None:
    for family in FAMILIES:
        seen = {family}
        while more := {other for f in seen for other in standin.RELATED[f]} - seen:
            seen |= more
        assert seen == set(FAMILIES)


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
        family = list(FAMILIES)[i % 10]
        typed = Typed(family, i % LEVELS + 1, numeracy.draw_values(family, i % LEVELS + 1, random.Random(i)))
        answer = standin.respond(ask(roles.PERSONA, typed, i, person))
        assert answer is not None
        if not answer.text.startswith("{"):
            continue
        question = json.loads(answer.text)["question"]
        whole = [numbers(numeracy.render(typed, wording)) for wording in typed.form.train]
        kept += numbers(question) in whole
        assert person.name in question
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
