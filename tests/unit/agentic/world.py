"""Small parts that tests of the agentic track share: one booking of the built-in table, in any state."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from flywheel_api.records.agentic import Branch, BranchKind, Task
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona
from flywheel_domains.case import Case, Edit, Want
from flywheel_domains.domain import Domain
from flywheel_domains.generate import build_world
from flywheel_jobs.agentic import words
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.right import Right, compute
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import UserText
from flywheel_jobs.domains import packages
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.reading.calls import render

ANN = Persona(id="persona-ann", name="Ann", trade="nurse", thing="beds", text="Ann is a nurse who counts beds.")
PACKAGE = packages.builtin("booking").digest


@lru_cache
def shelf() -> Shelf:
    """All built-in domains."""
    found = Shelf(Path(tempfile.mkdtemp(prefix="test-domains-")))
    for name in ("booking", "airline"):
        found.put(packages.builtin(name))
    return found


def domain(name: str = "booking") -> Domain:
    """A built-in domain."""
    return shelf().domain(packages.builtin(name).digest)


def _rows() -> tuple[str, str, str]:
    rows = build_world(domain(), 0).rows("bookings")
    return rows[0].id, rows[0].person.id, rows[1].id


KEY, CALLER, OTHER = _rows()
LOOK = render("get_booking", {"id": int(KEY)})
CANCEL = render("cancel", {"id": int(KEY)})
REFUND = render("refund", {"id": int(KEY)})


def case(wish: str = "undo", hidden: bool = False, **cells: Any) -> Case:
    """Somebody wants that booking undone; `cells` are its columns, by default a cancelable one of theirs."""
    state = {"fare": "cancelable", "owner": None, "done": None} | cells
    edits = tuple(Edit("bookings", KEY, column, value) for column, value in state.items())
    want = Want(wish, {"id": KEY}, hidden=frozenset({"id"} if hidden else ()))
    return Case("booking", 0, CALLER, "mine", "baker", (want,), {"name": "Ann Cole"}, edits=edits)


def right(of: Case | None = None) -> Right:
    """What is right in a case."""
    return compute(domain(), of or case())


TRAP = case("money")  # wants a refund of what is cancelled
LOCKED = case(fare="locked")
REFUNDABLE = case(fare="refundable")
WITHHELD = case(hidden=True)


def task(of: Case | None = None, request: str | None = None, **more: Any) -> Task:
    """The task of a case."""
    found = right(of)
    said = request or str(words.payload(found, ANN)["words"])
    kind = BranchKind.NORMAL
    chain = more.pop("chain", [Branch(id="root", kind=kind, condition="The booking is cancelable.")])
    lineage = Lineage(operator="invert", persona_id=ANN.id, branch_path=[b.id for b in chain])
    return build_task(PACKAGE, found, ANN, UserText(task=said, background=ANN.text), lineage, chain, **more)


def episode(of: Case | None = None, max_turns: int = 3) -> Episode:
    """A conversation that has not begun."""
    return Episode(task(of), right(of), max_turns=max_turns)


def play(of: Case | None, *turns: str, max_turns: int = 3) -> Episode:
    """An episode with these turns of the agent; the rest are not played once it has ended."""
    played = episode(of, max_turns)
    for turn in turns:
        if played.done:
            break
        played.agent_says(turn)
        if played.wants_user:
            said = played.scripted()
            played.user_says(said.text, said.stop)
    return played


def other(of: Case, **changes: Any) -> Case:
    """The case with some parts changed."""
    return replace(of, **changes)
