"""The truth table of the reward: what happened to the database decides, what the agent prints never does."""

from __future__ import annotations

import pytest

from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.core.errors import InfraError
from flywheel_jobs.reading.calls import render
from flywheel_jobs.rewards.state_diff import score
from unit.agentic.world import CANCEL, LOCKED, LOOK, REFUND, TRAP, branch, play, task

REFUNDABLE = branch(state={"fare": "refundable"}, path=["get_booking", "refund"], rules=["refundable"])
EXTRA = render("refund", {"id": 11, "date": "today"})
OTHER_ROW = render("get_booking", {"id": 12})


@pytest.mark.parametrize(
    ("name", "of", "turns", "expected"),
    [
        ("look, right write", branch(), (LOOK, CANCEL), 1.0),
        ("look, right write of the other outcome", REFUNDABLE, (LOOK, REFUND), 1.0),
        ("look, wrong write", branch(), (LOOK, REFUND), 0.0),
        ("right write, unseen", branch(), (CANCEL,), 0.0),
        ("look at another row, right write", branch(), (OTHER_ROW, CANCEL), 0.0),
        ("both in one turn: the write is not carried out", branch(), (LOOK + CANCEL, "Done."), 0.0),
        ("both in one turn, then the write", branch(), (LOOK + CANCEL, CANCEL), 1.0),
        ("only words", branch(), ("Your booking is cancelled. ###STOP",), 0.0),
        ("look, only words", branch(), (LOOK, "It is cancelled. <answer>done</answer>"), 0.0),
        ("look, look, right write in the last turn", branch(), (LOOK, LOOK, CANCEL), 1.0),
        ("look, look, look: cut off", branch(), (LOOK, LOOK, LOOK), 0.0),
        ("trap taken", TRAP, (LOOK, REFUND), 0.0),
        ("trap avoided", TRAP, (LOOK, CANCEL), 1.0),
        ("refusal after a look", LOCKED, (LOOK, "I cannot undo it."), 1.0),
        ("refusal unseen", LOCKED, ("I cannot undo it.",), 0.0),
        ("refusal asked for, write made", LOCKED, (LOOK, CANCEL), 0.0),
        (
            "refusal asked for, garbled write",
            LOCKED,
            (LOOK, '<tool_call>{"name": "refund", "arguments": {"id"</tool_call>'),
            0.0,
        ),
        (
            "refusal asked for, unfinished write",
            LOCKED,
            (LOOK, '<tool_call>{"name": "refund", "arguments": {"id": 1'),
            0.0,
        ),
        ("refusal asked for, write with an unknown argument", LOCKED, (LOOK, EXTRA, "Done."), 0.0),
    ],
)
def test_truth_table(name: str, of: object, turns: tuple[str, ...], expected: float) -> None:
    chosen = task(of)  # type: ignore[arg-type]
    episode = play(chosen, *turns)
    assert score(chosen, episode.env).score == expected, name


def test_diagnostics_and_outcome() -> None:
    blind = score(task(), play(task(), CANCEL).env)
    assert blind.outcome == "cancel"
    assert [blind.facts[n] for n in ("early_write", "looked_up_first", "no_write")] == [1, 0, 0]
    idle = score(task(), play(task(), "Hello").env)
    assert (idle.facts["no_write"], idle.facts["early_write"]) == (1, 0)
    wrong = score(task(TRAP), play(task(TRAP), LOOK, REFUND).env)
    assert [wrong.facts[n] for n in ("wrong_write", "trap_write", "looked_up_first")] == [1, 1, 1]


def test_sub_goals_are_the_calls_of_the_right_branch_and_the_final_tables() -> None:
    assert score(task(), play(task(), LOOK, CANCEL).env).facts["sub_goals"] == 1.0
    assert score(task(), play(task(), LOOK, "Done.").env).facts["sub_goals"] == pytest.approx(1 / 3)


def test_an_outage_is_an_error_and_never_a_zero() -> None:
    episode = Episode(task())
    episode.env.end("infra")
    with pytest.raises(InfraError, match="mask it"):
        score(task(), episode.env)


def test_a_reply_that_was_cut_off_closes_nothing() -> None:
    episode = Episode(task(LOCKED))
    episode.agent_says(LOOK)
    episode.agent_says("I cannot undo it, because", cut=True)
    assert episode.env.closed == "length" and score(task(LOCKED), episode.env).score == 0.0
