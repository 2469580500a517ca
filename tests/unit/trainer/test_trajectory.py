"""What the agent loops do outside verl: the task of a row, patience with outages, the record."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel_api.records.agentic import Task
from flywheel_api.records.prompt import Prompt, of_task
from flywheel_api.records.trajectory import TRAINING_ROLLOUT, Trajectory
from flywheel_api.results import CurvePoint, Track
from flywheel_api.stages import OVERLONG_ENV, ROLLOUTS_ENV
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.core.errors import InfraError, ValidationFailure
from flywheel_jobs.reading.calls import render
from flywheel_jobs.rewards.math import score as math_score
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import publish, reward, rollouts, sync, trajectory
from flywheel_jobs.trainer.metrics import joined
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_jobs.trainer.trajectory import Row, Sampled
from flywheel_store.memory import MemoryBucket
from unit.agentic import world


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "BACKOFF_BASE", 0.0)


PLAYED = {
    "domain": "booking",
    "package": world.PACKAGE,
    "case": world.task(world.LOCKED).case,
    "messages": [{"role": "user", "content": "Undo it."}],
    "outcome": "cancel",
}
"""What an episode and its reward need of a task, as somebody else writes it: no id, no branch, no lineage."""


def episode_of(task: Task) -> Episode:
    """A conversation about a task."""
    return Episode(task, world.right(world.LOCKED))


def row(**extra: Any) -> Row:
    return Row.read(
        {
            "global_steps": 4,
            "uid": "u",
            "session_id": 2,
            "data_source": "arithmetic",
            "raw_prompt": [{"role": "user", "content": "1+1"}],
            "reward_model": {"ground_truth": "2"},
            "extra_info": {"index": 7, **extra},
        }
    )


def test_task_of_a_row() -> None:
    task = trajectory.task_of(row(id="t1", task=json.dumps(PLAYED)).prompt)
    assert (task.id, task.domain, task.package, task.user.replies) == ("t1", "booking", world.PACKAGE, 0)
    assert episode_of(task).messages == PLAYED["messages"]


def test_our_own_rows_give_their_task_back() -> None:
    task = Task.model_validate({**PLAYED, "id": "t1", "lineage": {"personaId": "p", "rootId": "r", "round": "one"}})
    prompt = Prompt.read(of_task(task).row())
    assert trajectory.task_of(prompt) == task and prompt == of_task(task)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (None, "row 0 has no extra_info.task: agentLoop needs rows with a task"),
        ({}, "leave agentLoop out for single-turn data"),
        ({"index": 3}, "row 3 has no extra_info.task"),
        ({"index": 3, "task": {"id": "t"}}, "row 3 has no extra_info.task"),
        ({"index": 3, "task": "[1]"}, "extra_info.task of row 3 is no task"),
        ({"index": 3, "task": "{"}, "extra_info.task of row 3 is not JSON"),
        (
            {"index": 3, "task": '{"id": "t", "domain": "booking"}'},
            "task of row 3 is no task: package: Field",
        ),
    ],
)
def test_a_row_without_a_task_says_what_to_do(info: Any, says: str) -> None:
    with pytest.raises(ValidationFailure, match=re.escape(says)):
        trajectory.task_of(Prompt.read({"extra_info": info}))


def test_rows_that_others_wrote_can_be_read() -> None:
    """Parquet files of users: other columns, other types under our names, numpy's values."""
    prompt = Prompt.read(
        {
            "raw_prompt": np.array([{"role": "user", "content": "x"}], dtype=object),
            "reward_model": {"ground_truth": 5, "style": "rule"},
            "extra_info": {
                "index": np.int64(3),
                "id": None,
                "outcome": ["a"],
                "task": {"a": 1},
                "question": "x",
                "parent_ids": np.array(["a", "b"]),
            },
        }
    )
    assert (prompt.item, prompt.reward_model.ground_truth, prompt.ability) == ("3", "5", "")
    assert (prompt.extra_info.outcome, prompt.extra_info.parent_ids, prompt.task) == ("", ["a", "b"], None)
    assert Prompt.read({"extra_info": {"index": "test-9"}}).item == "test-9"
    assert Prompt.read({}).item == "0"


async def test_an_outage_is_retried_then_raised() -> None:
    calls = 0

    async def work() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise InfraError("sandbox away")
        return "done"

    assert await trajectory.patiently(work) == "done"
    calls = -10
    with pytest.raises(InfraError, match="sandbox away"):
        await trajectory.patiently(work, tries=2)
    assert calls == -8


async def test_a_bug_is_not_retried() -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await trajectory.patiently(work)
    assert calls == 1


def write(root: Path, monkeypatch: pytest.MonkeyPatch, sampled: Sampled, **extra: Any) -> Trajectory:
    monkeypatch.setenv(ROLLOUTS_ENV, str(root))
    trajectory.record(row(**{"id": "item-7", **extra}), sampled)
    (found,) = rollouts.gather(Nodes(spread=False), root, 4).trajectories
    return found


RIGHT = Sampled(
    turns=2, response_tokens=3, text="2", reward={"score": 1.0, "correct": True, "bare": True, "answer": "2"}
)


def test_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = write(tmp_path, monkeypatch, RIGHT, round="one", root_id="seed-1", parent_ids=["seed-1"])
    assert (found.id, found.item, found.attempt, found.step, found.track) == ("u-2", "item-7", 2, 4, Track.REASONING)
    assert (found.score, found.masked, found.correct, found.details) == (1.0, False, True, {"bare": 1.0})
    assert (found.turns, found.response_tokens, found.truth, found.task) == (2, 3, "2", None)
    assert found.messages == [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    assert (found.lineage.parent_ids, found.lineage.operator) == (["item-7"], TRAINING_ROLLOUT)
    assert (found.lineage.round, found.lineage.root_id) == ("one", "seed-1")
    assert rollouts.summary(4, rollouts.Step([found])).success == 1.0


def test_record_of_an_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task.model_validate({**PLAYED, "id": "t1", "lineage": {"branchPath": ["b"], "standin": True}})
    episode = episode_of(task)
    episode.agent_says(world.LOOK)
    episode.agent_says("I cannot undo it.")
    facts = reward.score_state("d", "", "", trajectory.reward_info(row(task=json.dumps(PLAYED)), episode, 2))
    sampled = Sampled(2, 9, "I cannot undo it.", facts, None, task, episode)
    found = write(tmp_path, monkeypatch, sampled)
    assert (found.track, found.item, found.task, found.outcome, found.closed) == (
        Track.AGENTIC, "t1", task, "cancel", "answered",
    )  # fmt: skip
    assert [(c.name, c.status) for c in found.calls] == [("get_booking", "ok")]
    assert found.messages == episode.messages and found.truth is None and found.correct is None
    assert (found.score, found.details["proved"], found.reason) == (1.0, 1.0, "")
    assert (found.lineage.branch_path, found.lineage.standin) == (["b"], True)


def test_a_masked_record_has_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = write(tmp_path, monkeypatch, Sampled(2, 3, "2", {}, outage="judge away"))
    assert (found.score, found.masked, found.outage) == (None, True, "judge away")
    point = rollouts.summary(4, rollouts.Step([found]))
    assert (point.trajectories, point.masked, point.reward, point.success) == (1, 1, None, None)


def test_a_step_of_outages_has_no_reward() -> None:
    """verl counts a masked trajectory as reward 0."""
    away = Trajectory(id="1", track=Track.AGENTIC, item="i", outage="judge away")
    assert joined(CurvePoint(step=4, reward=0.0), rollouts.summary(4, rollouts.Step([away]))).reward is None


def test_rewards_of_others_may_say_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"score": 0.5, "outcome": "refund", "speed": math.nan, "why": "slow", "depth": 3, "more": {"a": 1}}
    found = write(tmp_path, monkeypatch, Sampled(1, 3, "2", said))
    assert (found.score, found.outcome, found.details) == (0.5, "refund", {"depth": 3.0})


def test_custom_rewards_get_the_row_and_the_task_as_they_were_written() -> None:
    task = Task.model_validate({**PLAYED, "id": "t1"})
    info = trajectory.reward_info(row(task=json.dumps({**PLAYED, "mine": 1}), difficulty="hard"), episode_of(task), 2)
    assert (info["difficulty"], info["num_turns"], info["task"]["mine"]) == ("hard", 2, 1)
    assert info["env"].world.digest == world.right(world.LOCKED).start.digest and info["messages"] == PLAYED["messages"]
    assert trajectory.reward_info(row(), None, 1) == {"index": 7, "num_turns": 1}


def test_state_diff_needs_an_episode() -> None:
    with pytest.raises(ValueError, match="needs agentLoop"):
        reward.score_state("d", "", "", {"index": 1})


def test_validation_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path))
    trajectory.record(row(split="validation"), RIGHT)
    assert rollouts.gather(Nodes(spread=False), tmp_path, 4) == rollouts.Step([])
    assert [p.name for p in tmp_path.iterdir()] == ["validation-4"]


def test_summary_by_outcome() -> None:
    rows = [
        Trajectory(id=str(n), track=Track.AGENTIC, item="i", score=score, outcome=outcome)
        for n, (score, outcome) in enumerate([(1.0, "cancel"), (0.0, "cancel"), (1.0, "refund"), (None, "refund")])
    ]
    got = rollouts.summary(4, rollouts.Step(rows))
    assert {name: (o.reward, o.n) for name, o in got.by_outcome.items()} == {"cancel": (0.5, 2), "refund": (1.0, 1)}
    assert got.reward == pytest.approx(2 / 3)


def test_form_variety_and_truncation_are_told_apart_from_reward() -> None:
    def answer(n: int, text: str, cut: bool = False) -> Trajectory:
        said = [{"role": "user", "content": "3+4"}, {"role": "assistant", "content": text}]
        scored = math_score(text, "8", cut)
        formed = {"formed": float(scored["formed"])}
        return Trajectory(id=str(n), track=Track.REASONING, item="i", score=0.0, messages=said, details=formed, cut=cut)

    rows = [answer(0, "7"), answer(1, "7"), answer(2, "so it goes on"), answer(3, "7", cut=True)]
    got = rollouts.summary(4, rollouts.Step(rows))
    assert (got.format_rate, got.distinct_answers, got.truncated) == (0.5, 0.5, 0.25)
    lost = Trajectory(
        id="x",
        track=Track.AGENTIC,
        item="i",
        score=0.0,
        closed="malformed",
        task=Task.model_validate({**PLAYED, "id": "t1"}),
    )
    got = rollouts.summary(4, rollouts.Step([lost]))
    assert (got.format_rate, got.distinct_answers, got.masked) == (0.0, None, 0)


def test_what_was_cut_is_scored_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Sampled(1, 16, "3 plus", {"score": 0.0}, cut=True)
    monkeypatch.delenv(OVERLONG_ENV, raising=False)
    assert not cut.masked and write(tmp_path / "a", monkeypatch, cut).score == 0.0
    monkeypatch.setenv(OVERLONG_ENV, "Mask")
    assert cut.masked and not Sampled(1, 16, "3", {"score": 0.0}).masked
    left_out = write(tmp_path / "b", monkeypatch, cut)
    assert (left_out.score, left_out.cut, left_out.unscored) == (None, True, None)
    away = write(tmp_path / "c", monkeypatch, Sampled(1, 16, "", {}, outage="Judge", cut=True))
    wrong = write(tmp_path / "d", monkeypatch, Sampled(1, 16, "", {}, fault="the reward gave nan", cut=True))
    seen = rollouts.summary(1, rollouts.Step([left_out, left_out, away, wrong]))
    assert (seen.masked, seen.unscored, seen.overlong) == (4, 1, 2)
    dropped = {d.reason: d.count for d in publish.counts([seen]).dropped}
    assert dropped == {"outage": 1, "unscored": 1, "overlong": 2}


def test_a_stored_step_is_read_through_the_same_model() -> None:
    store = Store(MemoryBucket())
    rows = [Trajectory(id=str(n), track=Track.REASONING, item="i", step=4, score=s) for n, s in enumerate([1.0, None])]
    entry = rollouts.store_step(store, 4, rows)
    assert (entry.path, entry.records, entry.record_schema) == ("rollouts/step-4.jsonl", 2, "trajectory/v4")
    assert rollouts.step_of(entry) == 4
    lines = store.get_blob(entry.sha256).decode().splitlines()
    assert [Trajectory.model_validate_json(line) for line in lines] == rows
    assert all(json.loads(line)["schema"] == "trajectory/v4" for line in lines)


ODD = ["a\u2028b", "a\u2029b", "a\u0085b", "a\x0b\x0c\x1c\x1d\x1eb", "a\r\nb", "a\ud83db", "\x00", "\ufeffx"]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("where", ["prompt", "response", "call"])
def test_no_character_costs_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, where: str) -> None:
    """JSON Lines end at a line feed and nowhere else; half a surrogate pair is written as a question mark."""
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path))
    asked = Row.read({**row().raw, "raw_prompt": [{"role": "user", "content": text if where == "prompt" else "x"}]})
    episode = None
    if where == "call":
        episode = episode_of(Task.model_validate({**PLAYED, "id": "t1"}))
        episode.agent_says(render("get_booking", {"id": text}))
    said = text if where == "response" else "2"
    trajectory.record(asked, Sampled(1, 1, said, {"score": 1.0}, None, None, episode))
    trajectory.record(asked, RIGHT)
    found = rollouts.gather(Nodes(spread=False), tmp_path, 4)
    assert (len(found.trajectories), found.unreadable) == (2, 0)
    whole = json.dumps([t.dump() for t in found.trajectories], ensure_ascii=False)
    expected = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)[1:-1]
    assert expected in whole or where == "call", "what a call's arguments become is the parser's to say"
    store = Store(MemoryBucket())
    assert store.get_blob(rollouts.store_step(store, 4, found.trajectories).sha256).count(b"\n") == 2


def test_a_record_that_cannot_be_made_or_written_never_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path))
    trajectory.record(row(), Sampled(1, 1, "x", {"score": 1.0, "outcome": "x"}, None, "no task"))  # type: ignore[arg-type]
    trajectory.record(row(), RIGHT)
    found = rollouts.gather(Nodes(spread=False), tmp_path, 4)
    assert (len(found.trajectories), found.unreadable) == (1, 1), "what was lost is counted"
    point = rollouts.summary(4, found)
    assert (point.trajectories, point.unreadable, point.reward) == (1, 1, 1.0)
    none_left = joined(CurvePoint(step=4, reward=0.25), rollouts.summary(4, rollouts.Step([], 2)))
    assert (none_left.reward, none_left.unreadable) == (0.25, 2), "verl's own reward stands"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path / "file"))
    trajectory.record(row(), RIGHT)


@pytest.mark.parametrize(
    ("score", "fault"),
    [
        (1, None), (True, None), ("0.5", None), (np.float32(0.5), None), (-2.0, None),
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (np.float64("nan"), "nan"), ("nan", "'nan'"),
        (None, "None"), ("good", "'good'"), ([1.0], "[1.0]"), (10**400, "1000"),
    ],
)  # fmt: skip
async def test_a_score_that_is_no_number_masks_its_trajectory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Any, fault: str | None
) -> None:
    async def answered() -> dict[str, Any]:
        return {"score": score}

    reward_said, outage, said = await trajectory.scored(answered)
    sampled = Sampled(1, 3, "2", reward_said, outage, fault=said)
    assert outage is None and sampled.masked is (fault is not None)
    assert math.isfinite(sampled.score)
    found = write(tmp_path, monkeypatch, sampled)
    point = rollouts.summary(4, rollouts.Step([found]))
    if fault is None:
        assert (found.unscored, point.masked, point.unscored, point.reward) == (None, 0, 0, float(score))
    else:
        assert "the reward gave" in (found.unscored or "") and fault in (found.unscored or "")
        assert (found.score, found.outage, found.masked) == (None, None, True)
        assert (point.masked, point.unscored, point.reward) == (1, 1, None)


async def test_a_reward_without_a_score_and_one_that_fails() -> None:
    async def empty() -> dict[str, Any]:
        return {}

    async def fails() -> dict[str, Any]:
        raise KeyError("no answer in this text")

    async def away() -> dict[str, Any]:
        raise InfraError("judge away")

    async def wrong() -> dict[str, Any]:
        raise ValidationFailure("row 7 has no truth")

    assert (await trajectory.scored(empty))[2] == "the reward gave None, not a finite number"
    assert await trajectory.scored(fails) == ({}, None, "the reward raised KeyError: 'no answer in this text'")
    assert await trajectory.scored(away) == ({}, "judge away", None)
    with pytest.raises(ValidationFailure):
        await trajectory.scored(wrong)


def test_a_text_that_breaks_its_reader_costs_its_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    episode = episode_of(Task.model_validate({**PLAYED, "id": "t1"}))
    with monkeypatch.context() as broken:
        broken.setattr(Episode, "agent_says", lambda *_: (_ for _ in ()).throw(RecursionError("too deep")))
        with pytest.raises(trajectory.Unplayable, match="the environment raised RecursionError: too deep"):
            trajectory.spoken(episode, "[" * 5000, False)
        broken.setattr(Episode, "agent_says", lambda *_: (_ for _ in ()).throw(InfraError("sandbox away")))
        with pytest.raises(InfraError):
            trajectory.spoken(episode, "x", False)
    before = list(episode.messages)
    assert trajectory.spoken(episode, "There is none.", False).done and episode.messages == before


def test_counts_of_a_training() -> None:
    curve = [CurvePoint(step=1, trajectories=8, masked=3, unscored=1), CurvePoint(step=2, trajectories=8, masked=0)]
    counts = publish.counts(curve, dropped_prompts=5)
    assert (counts.in_, counts.out) == (21, 13)
    assert {d.reason: d.count for d in counts.dropped} == {"outage": 2, "unscored": 1, "prompt-too-long": 5}
    assert counts.in_ == counts.out + sum(d.count for d in counts.dropped)


def test_a_step_in_which_nothing_could_be_scored_counts_as_one_that_went_wrong() -> None:
    lost = Trajectory(id="1", track=Track.REASONING, item="i", unscored="the reward raised KeyError: 'x'")
    away = Trajectory(id="2", track=Track.REASONING, item="i", outage="judge away")

    def wrong(*rows: Trajectory) -> str | None:
        return sync.wrong_with(rollouts.summary(4, rollouts.Step(list(rows))), rows)

    assert wrong(lost, lost) == "no trajectory could be scored: the reward raised KeyError: 'x'"
    assert (wrong(lost, away), wrong()) == (None, None), "an outage is weather, and so is a step without records"
