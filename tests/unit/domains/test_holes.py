"""Ways round a refusal, and orders that decide."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from flywheel_domains.behaviour import behave
from flywheel_domains.case import Case, Edit, Ending, Want
from flywheel_domains.domain import Domain
from flywheel_domains.generate import build_world
from flywheel_domains.holes import loopholes, order_decides
from flywheel_domains.load import parse
from flywheel_domains.world import World

TERN = (Path(__file__).parent / "tern" / "domain.yaml").read_text()
CODE = (Path(__file__).parent / "tern" / "tools.py").read_text()
CLOSED = "(b.cabin == 'club' and not session.did('change_cabin', b))"


@pytest.fixture(scope="module")
def open_tern() -> Domain:
    """Tern Air as its author first wrote it: nothing said about a cabin that was changed a minute ago."""
    assert CLOSED in TERN
    return parse(TERN.replace(CLOSED, "b.cabin == 'club'"), code=CODE)


def denied(domain: Domain, world: World) -> Case:
    """A member who wants to call off an old trip in standard, paid by card, on departures with room in club."""
    booking = next(b for b in world.rows("bookings") if any(w.kind == "card" for w in b.member.wallets))
    seats = [Edit("fares", f"{s.departure.id}/club", "seats", 8) for s in booking.segments]
    departures = [Edit("departures", s.departure.id, "state", "open") for s in booking.segments]
    values = {"state": "live", "cabin": "standard", "cover": False, "booked_at": "2031-03-01T10:00"}
    edits = [Edit("bookings", booking.id, column, value) for column, value in values.items()]
    member = booking.member
    want = Want("cancel", {"booking_id": booking.id, "reason": "illness"})
    knows = {"email": member.email}
    return Case("tern", 1, member.id, "mine", "nurse", (want,), knows=knows, edits=(*seats, *departures, *edits))


def test_a_refusal_that_an_upgrade_lifts_is_found(open_tern: Domain) -> None:
    world = build_world(open_tern, 1)
    found = behave(open_tern, world, denied(open_tern, world))
    assert found.endings == (Ending.DENIED,)
    holes = [hole for seed in range(8) for hole in loopholes(open_tern, found, random.Random(seed))]
    assert {hole.rules for hole in holes} == {("c-allowed",)}
    assert {hole.calls[0].name for hole in holes} == {"change_cabin"}


@pytest.mark.parametrize(("meant", "found"), [("allowed", False), ("[change_cabin]", False), ("[set_bags]", True)])
def test_what_an_author_means_is_said_by_the_tools_that_lead_there(meant: str, found: bool) -> None:
    text = TERN.replace(CLOSED, "b.cabin == 'club'").replace("{id: c-allowed,", f"{{id: c-allowed, loophole: {meant},")
    domain = parse(text, code=CODE)
    world = build_world(domain, 1)
    case = behave(domain, world, denied(domain, world))
    assert any(loopholes(domain, case, random.Random(seed)) for seed in range(8)) is found


def test_a_rule_about_the_session_closes_it(tern: Domain, world: World) -> None:
    found = behave(tern, world, denied(tern, world))
    assert found.endings == (Ending.DENIED,)
    assert not [hole for seed in range(8) for hole in loopholes(tern, found, random.Random(seed))]


def test_an_order_that_decides_is_seen(tern: Domain, world: World) -> None:
    case = denied(tern, world)
    booking = case.wants[0].said["booking_id"]
    card = next(w.id for w in world.rows("wallets") if w.member.id == case.caller and w.kind == "card")
    club = (Edit("bookings", booking, "cover", True),)
    bags = Want("bags_up", {"booking_id": booking, "bags": 9, "wallet_id": card})
    two = replace(case, wants=(case.wants[0], bags), edits=(*case.edits, *club))
    assert order_decides(tern, world, two)  # a trip that is called off takes no more bags
    assert not order_decides(tern, world, replace(two, wants=(bags, replace(bags, said={**bags.said}))))
