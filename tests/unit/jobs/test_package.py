"""Rows and splits of the packaged data."""

from __future__ import annotations

import io
import random
from collections import Counter
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_api.records.base import Lineage, Message
from flywheel_api.records.prompt import Prompt, of_problem, of_task
from flywheel_api.records.reasoning import Problem
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Split, Track
from flywheel_api.round import TrackTraining
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.stages import package, shown
from flywheel_jobs.stages.package import Example
from unit.agentic.world import task
from unit.api.test_names_and_presets import round_spec


def examples(groups: dict[str, int]) -> list[Example]:
    made = {f"{g}{i}": g for g, n in groups.items() for i in range(n)}
    return [Example(g, of_problem(Problem(id=name, question=f"{name}?"))) for name, g in made.items()]


@pytest.mark.parametrize("groups", [{"a": 30, "b": 5, "c": 5}, {f"g{i}": 1 for i in range(40)}, {"only": 10}, {}])
def test_split_is_by_group_and_bounded(groups: dict[str, int]) -> None:
    items = examples(groups)
    train, held = package.split(items, random.Random(3), 0.1 * len(items))
    ids = [e.prompt.extra_info.id for e in [*train, *held]]
    assert sorted(ids) == sorted(e.prompt.extra_info.id for e in items)
    assert {e.group for e in train}.isdisjoint(e.group for e in held)
    assert len(held) <= package.MAX_VALIDATION_SHARE * len(items)
    if len(groups) > 1:
        assert held


def test_a_training_that_looks_at_nothing_held_out_gets_all_rows() -> None:
    items = examples({f"g{i}": 1 for i in range(40)})
    train, held = package.split(items, random.Random(3), 0.0)
    assert len(train) == 40 and held == []


@pytest.mark.parametrize(
    ("training", "wanted"),
    [
        ({"preset": "smollm2-135m-cpu"}, 0.0),
        ({"preset": "smollm2-135m-cpu", "validationRows": 7}, 7),
        ({"preset": "agenticqwen-8b"}, 4.0),
        ({"preset": "agenticqwen-8b", "validationRows": 7}, 7),
        ({"preset": "agenticqwen-8b", "validationRows": 0}, 0),
    ],
)
def test_as_much_is_held_out_as_the_round_says(training: dict[str, object], wanted: float) -> None:
    spec = round_spec(**training)
    items = examples({f"g{i}": 1 for i in range(40)})
    assert package.held_out(spec, Track.REASONING, len(items)) == wanted
    assert len(package.split(items, random.Random(3), wanted)[1]) == wanted


def test_the_same_prompt_is_on_one_side_whatever_its_ids() -> None:
    twins = [replace(e, group=f"{e.group}'") for e in examples({f"g{i}": 1 for i in range(40)})]
    train, held = package.split([*examples({f"g{i}": 1 for i in range(40)}), *twins], random.Random(3), 8.0)
    prompts = [{e.prompt.prompt[-1]["content"] for e in side} for side in (train, held)]
    assert held and prompts[0].isdisjoint(prompts[1]) and len(train) + len(held) == 80


def test_a_problem_is_on_the_side_of_its_kin() -> None:
    """Problems and their variants go by the seed that they come from, in whatever round they were made."""
    own = [Problem(id=f"s{n}", question=f"{n}?") for n in range(20)]
    carried = [Problem(id=f"c{n}", question=f"{n}!", family="add", template="plus") for n in range(20)]
    variants = [Problem(id=f"v{p.id}", question=f"more {p.question}", template="change-values/",
                        lineage=Lineage(root_id=p.id)) for p in own]  # fmt: skip
    groups = {p.id: shown.group_of(p) for p in [*own, *carried, *variants]}
    assert len(set(groups.values())) == 40 and all(groups[f"v{p.id}"] == groups[p.id] for p in own)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcd")), max_size=60), st.integers(0, 9))
def test_no_split_takes_a_stratum_away(rows: list[tuple[int, str]], seed: int) -> None:
    problems = [of_problem(Problem(id=f"p{n}", question=f"{n}?")) for n in range(len(rows))]
    made = [Example(f"g{group}", prompt, stratum) for (group, stratum), prompt in zip(rows, problems, strict=True)]
    train, held = package.split(made, random.Random(seed), 0.1 * len(made))
    for stratum, n in Counter(e.stratum for e in made).items():
        gone = sum(e.stratum == stratum for e in held)
        assert gone <= package.MAX_VALIDATION_SHARE * n
    assert {e.stratum for e in train} == {e.stratum for e in made}
    assert {e.group for e in train}.isdisjoint(e.group for e in held)


def test_what_is_held_out_is_drawn_from_every_stratum_that_can_give() -> None:
    made = [Example(f"{s}{i}", e.prompt, s) for s in "abc" for i, e in enumerate(examples({s: 10}))]
    _, held = package.split(made, random.Random(1), 0.1 * len(made))
    assert Counter(e.stratum for e in held) == {"a": 1, "b": 1, "c": 1}


def test_too_few_rows_name_the_numbers() -> None:
    training = TrackTraining.model_validate({"algorithm": {"promptsPerStep": 4}})
    package.check_enough(Track.AGENTIC, examples({"a": 4}), training)
    with pytest.raises(ValidationFailure, match=r"3 training rows and one step takes 4: raise spec\.agentic\.maxTasks"):
        package.check_enough(Track.AGENTIC, examples({"a": 3}), training)


def test_agentic_row_carries_the_whole_task() -> None:
    chosen = task().model_copy(
        update={"lineage": Lineage(parent_ids=["tree-1"], persona_id="p1", operator="invert", template="x")}
    )
    (prompt,) = package.numbered([Example("p1", of_task(chosen))], Split.TRAIN)
    (row,) = pq.read_table(io.BytesIO(package.parquet([prompt.row()]))).to_pylist()
    assert row["agent_name"] == "flywheel_tool_agent" and row["data_source"] == "flywheel/booking"
    assert row["extra_info"]["index"] == 0 and row["extra_info"]["parent_ids"] == ["tree-1"]
    assert row["extra_info"]["split"] == "train"
    assert Prompt.model_validate(row).task == chosen


CONTEXT = [Message(role="system", content="Compute."), Message(role="user", content="2+4")]
SHOT = [*CONTEXT, Message(role="assistant", content="6")]


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ([], "3 and 4: <answer>7</answer>"),
        (CONTEXT[:1], "3 and 4: <answer>7</answer>"),
        (SHOT, "7"),
        ([*CONTEXT, Message(role="assistant", content="It is \\boxed{6}")], "3 and 4: <answer>7</answer>"),
        ([*SHOT, Message(role="assistant", content="Let us see.")], "3 and 4: <answer>7</answer>"),
    ],
)
def test_a_solution_is_shown_as_the_problem_asks_for_answers(context: list[Message], said: str) -> None:
    problem = Problem(id="p", question="3+4", answer="7", context=context)
    made = shown.solved(problem, "<think>3, then 4</think>3 and 4: <answer>7</answer>")
    assert [(m.role, m.content) for m in made.messages[:-1]] == [(m["role"], m["content"]) for m in problem.messages()]
    assert made.messages[-1].model_dump() == {"role": "assistant", "content": said, "learn": True}
    assert not any(m.learn for m in made.messages[:-1]), "worked examples are not learnt"


def test_an_attempt_is_shown_without_thought_and_without_what_nobody_answers() -> None:
    own = task()
    said = [{"role": "assistant", "content": "<think>look first</think>call"}, {"role": "tool", "content": "open"},
            {"role": "assistant", "content": "done"}, {"role": "user", "content": "thanks"}]  # fmt: skip
    attempt = Trajectory(id="t", track=Track.AGENTIC, item=own.id, messages=[*own.messages, *said])
    made = shown.played(own, attempt).messages
    assert [(m.content, m.learn) for m in made[len(own.messages) :]] == [
        ("call", True),
        ("open", False),
        ("done", True),
    ]
    assert not any(m.learn for m in made[: len(own.messages)])
