"""The engine: transactions, preconditions, the log, and what an agent may get wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_api.records.agentic import Call, Task
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.envs import make_env
from flywheel_jobs.envs.engine import NOTHING_FOUND, replay
from unit.agentic.world import AIRLINE, KEY, task

DB = {"bookings": {"47": AIRLINE.table("bookings").row(fare="refundable"), "50": AIRLINE.table("bookings").row()}}


def of(**changes: Any) -> Task:
    return task().model_copy(update={"settle_after": None, **changes})


def test_a_write_changes_one_row_and_is_logged_with_both_hashes() -> None:
    env = make_env(of(db=DB))
    assert env.call("get_booking", {"id": KEY}) == "refundable"
    assert env.call("refund", {"id": "47"}) == "ok"
    look, write = env.log
    assert look.before == look.after == write.before != write.after == env.state_hash()
    assert env.tables["bookings"]["47"]["state"] == "refunded" and env.tables["bookings"]["50"] == DB["bookings"]["50"]
    assert DB["bookings"]["47"]["state"] == "booked", "the task's own tables stay as they are"
    assert [c.turn for c in env.log] == [0, 1]


def test_a_second_write_is_refused_and_changes_nothing() -> None:
    env = make_env(of(db=DB))
    env.call("refund", {"id": KEY})
    before = env.state_hash()
    assert env.call("cancel", {"id": KEY}) == "error: booking 47 is already refunded"
    assert env.log[-1].status == "refused" and env.state_hash() == before


@pytest.mark.parametrize(
    ("name", "arguments", "status", "answer"),
    [
        ("get_booking", {"id": 99}, "not-found", NOTHING_FOUND),
        ("get_book", {"id": KEY}, "unknown-tool", "error: no tool 'get_book'; there are get_booking, "),
        ("get_booking", {}, "bad-arguments", "error: missing id"),
        ("get_booking", {"id": KEY, "x": 1}, "bad-arguments", "error: unknown x"),
        ("get_booking", {"id": "many"}, "bad-arguments", "error: invalid literal"),
        ("get_booking", {"id": True}, "bad-arguments", "error: id must be an integer"),
        ("get_booking", [KEY], "bad-arguments", "error: arguments must be a JSON object"),
    ],
)
def test_mistakes_are_answered_in_words(name: str, arguments: Any, status: str, answer: str) -> None:
    env = make_env(of(db=DB))
    assert env.call(name, arguments).startswith(answer)
    assert env.log[-1].status == status and env.tables == DB


def test_settled_request_closes_the_episode() -> None:
    env = make_env(of(db=DB, settle_after=1))
    env.call("cancel", {"id": KEY})
    assert env.closed == "settled"
    assert env.call("refund", {"id": 50}) == "error: the conversation is over"
    assert env.tables["bookings"]["50"]["state"] == "booked"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["get_booking", "cancel", "refund", "fly"]),
            st.one_of(st.integers(40, 52), st.text(max_size=3), st.none()),
        ),
        max_size=8,
    )
)
def test_same_calls_give_same_states_and_nothing_raises(calls: list[tuple[str, Any]]) -> None:
    wanted = [Call(name=n, arguments={"id": v}) for n, v in calls]
    untouched = copy.deepcopy(DB)
    first, log = replay(AIRLINE, DB, wanted)
    second, again = replay(AIRLINE, DB, wanted)
    assert first == second and log == again and untouched == DB
    assert all(c.before == c.after for c in log if not (c.writes and c.status == "ok"))
    assert all(row["state"] in ("booked", "cancelled", "refunded") for row in first["bookings"].values())


def test_bad_tasks_say_what_is_wrong() -> None:
    with pytest.raises(ValidationFailure, match="takes airline"):
        make_env(of(domain="railway"))
    with pytest.raises(ValueError, match=r"bookings\.fare cannot be 'cheap'"):
        AIRLINE.table("bookings").row(fare="cheap")


def test_tools_are_openai_schemas() -> None:
    first = AIRLINE.tools[0].schema()
    assert first["function"]["parameters"]["required"] == ["id"]
    assert first["function"]["parameters"]["properties"]["id"]["type"] == "integer"
