"""The airline domain: bookings that are undone by one of two writes, decided by what a look-up says.

Both usual outcomes are writes: with "do nothing" as one of them a 135M model has no success to learn from. The status
words share their stem with the write that they ask for, and ids have two digits: with two demonstrations the base
SmolLM2-135M-Instruct then succeeds in about 0.3 of its attempts at either outcome (measured, see agentic/prompt.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flywheel_jobs.envs.engine import (
    WRITTEN,
    Column,
    Domain,
    Parameter,
    Row,
    Rule,
    Scalar,
    Table,
    Tables,
    Tool,
    ToolRefused,
)

ID = Parameter("id", "integer", "booking number")
CANCELABLE, REFUNDABLE, LOCKED = "cancelable", "refundable", "locked"


def _booking(tables: Tables, arguments: Mapping[str, Scalar]) -> Row:
    return tables["bookings"][str(arguments["id"])]


def _get(tables: Tables, arguments: Mapping[str, Scalar]) -> str:
    row = _booking(tables, arguments)
    notes = [str(row["fare"])]
    if row["owner"] != "caller":
        notes.append("booked by another person")
    if row["state"] != "booked":
        notes.append(f"already {row['state']}")
    return ", ".join(notes)


def _undo(new_state: str) -> Callable[[Tables, Mapping[str, Scalar]], str]:
    def run(tables: Tables, arguments: Mapping[str, Scalar]) -> str:
        row = _booking(tables, arguments)
        if row["state"] != "booked":
            raise ToolRefused(f"booking {arguments['id']} is already {row['state']}")
        row["state"] = new_state
        return WRITTEN

    return run


AIRLINE = Domain(
    name="airline",
    tables=(
        Table(
            "bookings",
            (
                Column("fare", (CANCELABLE, REFUNDABLE, LOCKED), CANCELABLE),
                Column("owner", ("caller", "other"), "caller"),
                Column("state", ("booked", "cancelled", "refunded"), "booked"),
            ),
        ),
    ),
    tools=(
        Tool("get_booking", "Look up a booking's fare and state", (ID,), _get, short="look up"),
        Tool("cancel", "Cancel a booking", (ID,), _undo("cancelled"), writes=True, short="cancel"),
        Tool("refund", "Refund a booking", (ID,), _undo("refunded"), writes=True, short="refund"),
    ),
    rules=(
        Rule("cancelable", "A cancelable booking is cancelled.", ordinary=True),
        Rule("refundable", "A refundable booking is refunded.", ordinary=True),
        Rule("locked", "A locked booking stays as it is."),
        Rule("owner", "A booking of another person stays as it is."),
        Rule("number", "Without a booking number nothing is changed."),
        Rule("done", "A booking that is already undone stays as it is."),
    ),
    main_table="bookings",
    key=ID,
    key_range=(10, 99),
)
