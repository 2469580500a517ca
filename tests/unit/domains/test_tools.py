"""Calls: read at the door, all or nothing, revealed by views, repeated as declared."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_domains.diff import diff
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.session import Session
from flywheel_domains.tools import Outcome, call
from flywheel_domains.world import Row, World


@pytest.fixture(scope="module")
def booking(world: World) -> Row:
    """A live booking in standard."""
    return next(b for b in world.rows("bookings") if b.state == "live" and b.cabin == "standard")


@pytest.fixture(scope="module")
def session(booking: Row) -> Session:
    return Session(caller=booking.member.id)


def bags(tern: Domain, world: World, session: Session, booking: Row, **more: Any) -> Outcome:
    wallet = booking.member.wallets[0].id
    return call(tern, world, session, "set_bags", {"booking_id": booking.id, "bags": 9, "wallet_id": wallet, **more})


def test_a_caller_is_identified_by_what_they_say_of_themselves(tern: Domain, world: World, session: Session) -> None:
    me = world.row("members", session.caller or "")
    other = next(m for m in world.rows("members") if m != me)
    found = call(tern, world, session, "find_member", {"email": f" {me.email.upper()} "})
    assert found.session.identified == session.caller
    assert call(tern, world, session, "find_member", {"email": other.email}).session.identified is None
    assert call(tern, world, session, "find_member", {"email": "nobody"}).answer == {"error": "no_such_member"}


def test_a_read_reveals_what_it_shows(tern: Domain, world: World, session: Session, booking: Row) -> None:
    seen = call(tern, world, session, "get_booking", {"booking_id": booking.id})
    segment = booking.segments[0]
    assert Cell("bookings", booking.id, "cover") in seen.revealed
    assert Cell("bookings", booking.id, "why") not in seen.revealed
    assert Cell("segments", "*", f"booking={booking.id}") in seen.revealed
    assert Cell("segments", segment.id, "booking") in seen.revealed
    assert Cell("departures", segment.departure.id, "leaves") in seen.revealed
    missing = call(tern, world, session, "get_booking", {"booking_id": "ZZZZ00"})
    assert missing.revealed == {Cell("bookings", "ZZZZ00", "id")}
    assert missing.answer == {"error": "not_found", "booking_id": "ZZZZ00"}


def test_a_write_makes_a_new_world(tern: Domain, world: World, session: Session, booking: Row) -> None:
    before = world.digest
    done = bags(tern, world, session, booking)
    assert done.refusal is None
    assert world.digest == before != done.world.digest
    assert Cell("bookings", booking.id, "bags") in dict(diff(world, done.world).changed)
    assert done.session.done[0].rows >= {("bookings", booking.id)}


def test_a_second_time(tern: Domain, world: World, session: Session, booking: Row) -> None:
    once = bags(tern, world, session, booking)
    twice = bags(tern, once.world, once.session, booking, bags="9")
    assert twice.answer == {"error": "done_already"}
    assert twice.world.digest == once.world.digest
