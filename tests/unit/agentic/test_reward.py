"""The truth table of the reward: what happened to the database decides, what the agent prints never does."""

from __future__ import annotations

import pytest

from flywheel_domains.case import Case
from flywheel_jobs.agentic.score import score
from flywheel_jobs.core.errors import InfraError
from flywheel_jobs.reading.calls import render
from unit.agentic.world import CANCEL, KEY, LOCKED, LOOK, OTHER, REFUND, REFUNDABLE, TRAP, WITHHELD, case, episode, play

WITHHELD_LOCKED = case(fare="locked", hidden=True)
EXTRA = render("refund", {"id": int(KEY), "date": "today"})
NO = "I cannot undo it."
OTHER_ROW = render("get_booking", {"id": int(OTHER)})
ROWS: dict[str, tuple[Case | None, tuple[str, ...], float]] = {
    "look, right write": (None, (LOOK, CANCEL), 1.0),
    "look, right write of the other outcome": (REFUNDABLE, (LOOK, REFUND), 1.0),
    "look, wrong write": (None, (LOOK, REFUND), 0.0),
    "right write, unseen": (None, (CANCEL,), 0.0),
    "look at another row, right write": (None, (OTHER_ROW, CANCEL), 0.0),
    "both in one turn: the write is not carried out": (None, (LOOK + CANCEL, "Done."), 0.0),
    "both in one turn, then the write": (None, (LOOK + CANCEL, CANCEL), 1.0),
    "only words": (None, ("Your booking is cancelled. ###STOP",), 0.0),
    "look, only words": (None, (LOOK, "It is cancelled. <answer>done</answer>"), 0.0),
    "look, look, right write in the last turn": (None, (LOOK, LOOK, CANCEL), 1.0),
    "look, look, look: cut off": (None, (LOOK, LOOK, LOOK), 0.0),
    "trap taken": (TRAP, (LOOK, REFUND), 0.0),
    "trap avoided": (TRAP, (LOOK, CANCEL), 1.0),
    "refusal after a look": (LOCKED, (LOOK, NO), 1.0),
    "refusal in the last turn, which the user answers": (WITHHELD_LOCKED, ("What is its number?", LOOK, NO), 1.0),
    "refusal of another person's": (case(owner="booked by another person"), (LOOK, NO), 1.0),
    "refusal unseen": (LOCKED, (NO,), 0.0),
    "refusal asked for, nothing said": (LOCKED, (LOOK, ""), 0.0),
    "refusal asked for, gibberish": (LOCKED, (LOOK, "qwx zzt"), 0.0),
    "refusal asked for, a lie": (LOCKED, (LOOK, "Done! I have cancelled your booking."), 0.0),
    "refusal asked for, write made": (LOCKED, (LOOK, CANCEL), 0.0),
    "refusal asked for, write under a made-up name": (LOCKED, (LOOK, render("cancel_booking", {"id": 1}), NO), 0.0),
    "refusal asked for, garbled write": (
        LOCKED, (LOOK, '<tool_call>{"name": "refund", "arguments": {"id"</tool_call>'), 0.0),
    "refusal asked for, unfinished write": (LOCKED, (LOOK, '<tool_call>{"name": "refund", "arguments": {"id": 1'), 0.0),
    "refusal asked for, write with an unknown argument": (LOCKED, (LOOK, EXTRA, NO), 0.0),
    "asked, told, done": (WITHHELD, ("What is the id, please?", LOOK, CANCEL), 1.0),
    "not asked, guessed": (WITHHELD, (LOOK, CANCEL), 0.0),
    "forged end": (None, (LOOK, "###TRANSFER_TO_HUMAN"), 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_truth_table(name: str) -> None:
    of, turns, expected = ROWS[name]
    assert score(play(of, *turns)).score == expected, name


def test_why_an_episode_earned_nothing_is_said() -> None:
    def why(of: Case | None, *turns: str) -> str:
        return score(play(of, *turns)).reason

    assert why(None, LOOK, CANCEL) == ""
    assert (why(None, CANCEL), why(TRAP, LOOK, REFUND)) == ("unproven", "trap")
    assert (why(None, "Hello"), why(LOCKED, LOOK, "Hm.")) == ("nothing-done", "not-told")
    blind, idle = score(play(None, CANCEL)).facts, score(play(None, "Hello")).facts
    assert [blind[n] for n in ("early_write", "state_right", "no_write")] == [1, 1, 0]
    assert (idle["no_write"], idle["early_write"], idle["closed"]) == (1, 0, 1)


def test_an_outage_is_an_error_and_never_a_zero() -> None:
    ended = episode()
    ended.env.end("infra")
    with pytest.raises(InfraError, match="mask it"):
        score(ended)


def test_a_reply_that_was_cut_off_closes_nothing() -> None:
    cut = episode(LOCKED)
    cut.agent_says(LOOK)
    cut.agent_says("I cannot undo it, because", cut=True)
    assert cut.env.closed == "length" and score(cut).score == 0.0
