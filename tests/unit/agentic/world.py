"""Small parts that the tests of the agentic track share."""

from __future__ import annotations

import random
from typing import Any

from flywheel_api.records.agentic import Action, Branch, BranchKind, Task
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.inversion import UserText, build_task
from flywheel_jobs.envs import domain_of
from flywheel_jobs.reading.calls import render

AIRLINE = domain_of("airline")
ANN = Persona(id="persona-ann", name="Ann", trade="nurse", thing="beds", text="Ann is a nurse who counts beds.")
KEY = 47
LOOK = render("get_booking", {"id": KEY})
CANCEL = render("cancel", {"id": KEY})
REFUND = render("refund", {"id": KEY})


def branch(**changes: Any) -> Branch:
    """A branch: a cancelable booking, cancelled after a look-up, unless changed."""
    base: dict[str, Any] = {
        "id": "normal",
        "kind": BranchKind.NORMAL,
        "condition": "The fare is cancelable.",
        "action": Action.PROCEED,
        "state": {"fare": "cancelable"},
        "path": ["get_booking", "cancel"],
        "rules": ["cancelable"],
    }
    return Branch.model_validate({**base, **changes})


TRAP = branch(id="trap", kind=BranchKind.TRAP, trap=["get_booking", "refund"])
LOCKED = branch(
    id="locked",
    kind=BranchKind.PRECONDITION,
    action=Action.REFUSE,
    state={"fare": "locked"},
    path=["get_booking"],
    trap=["get_booking", "cancel"],
    rules=["locked"],
)
WITHHELD = branch(
    id="withheld", kind=BranchKind.MISSING_DATA, action=Action.CLARIFY, withheld=True, rules=["number", "cancelable"]
)


def task(of: Branch | None = None, request: str | None = None) -> Task:
    """The task of a branch."""
    chosen = of or branch()
    said = request or ("Undo my booking." if chosen.withheld else f"I am Ann, a nurse. Undo booking {KEY}.")
    text = UserText(task=said, user_background=f"The booking number is {KEY}.")
    lineage = Lineage(operator="invert", persona_id=ANN.id, branch_path=[chosen.id])
    return build_task(AIRLINE, [chosen], ANN, KEY, text, random.Random(3), lineage)


def play(of: Task, *turns: str, max_turns: int = 3) -> Episode:
    """An episode with these turns of the agent; the rest are not played once it has ended."""
    episode = Episode(of, max_turns=max_turns)
    for turn in turns:
        if episode.done:
            break
        episode.agent_says(turn)
        if episode.wants_user:
            episode.user_says("", stop=True)
    return episode
