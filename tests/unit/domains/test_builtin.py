"""The domains that come with Flywheel: as large as real ones, playable, and what they needed of the engine."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains.behaviour import behave
from flywheel_domains.case import Ending, Want
from flywheel_domains.check import check
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.edits import flips
from flywheel_domains.expr import compile_expr
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.lookups import path_of
from flywheel_domains.session import Session
from flywheel_domains.tools import call
from flywheel_domains.wishes import Drawing, NotDrawn, draw_want
from flywheel_domains.words import undetermined

BUILTIN = Path(flywheel_domains.__file__).with_name("builtin")
REAL = ("airline", "retail", "nomination")
SEED = 1


@pytest.fixture(scope="module", params=[*REAL, "booking"])
def domain(request: pytest.FixtureRequest) -> Domain:
    return load(BUILTIN / request.param)


@pytest.fixture(scope="module")
def airline() -> Domain:
    return load(BUILTIN / "airline")


@pytest.mark.parametrize("name", REAL)
def test_the_domains_are_of_the_size_of_real_ones_and_code_is_for_the_one_stop_search(name: str) -> None:
    domain = load(BUILTIN / name)
    assert 8 <= len(domain.tools) <= 15
    assert 12 <= len(domain.rules) <= 25
    assert [tool.name for tool in domain.tools.values() if tool.code] == ["search_one_stop"] * (name == "airline")


@pytest.mark.parametrize("name", [*REAL, "booking"])
def test_the_tester_finds_nothing(name: str) -> None:
    report = check(BUILTIN / name, without=["agents"])  # they play in test_agents
    assert report.passed, report.text()


def test_cases_come_as_they_are_wished_and_their_proof_can_be_looked_up(domain: Domain) -> None:
    endings = set()
    for number in range(8):
        found = draw_behaviour(domain, build_world(domain, SEED), random.Random(f"builtin/{number}"))
        path_of(domain, found)
        endings |= set(found.endings)
    assert endings & {Ending.DONE, Ending.REPLACED} and Ending.DENIED in endings


def test_a_search_in_code_shows_that_there_is_nothing_else_to_agents_and_to_expressions(airline: Domain) -> None:
    world = build_world(airline, SEED)
    args = {"origin": "FJV", "destination": "GRD", "date": "2031-06-18"}
    outcome = call(airline, world, Session(), "search_one_stop", args)
    listing = compile_expr(
        "count(listing('search_one_stop', origin='FJV', destination='GRD', date=date('2031-06-18')))"
    )
    known = world.view(known=outcome.revealed)
    assert listing.eval(known.scope()) == len(outcome.result)
    assert not isinstance(listing.eval(world.view(known=frozenset()).scope()), int)


def test_what_takes_a_wishs_place_is_drawn_from_the_same_row() -> None:
    """Who cannot exchange a thing sends back something of the same order, not a line of another one."""
    retail = load(BUILTIN / "retail")
    world = build_world(retail, SEED)
    drawn = 0
    for number, customer in enumerate(world.rows("customers")):
        at = Drawing(retail, world, random.Random(number), customer.id, "mine", customer.id)
        try:
            wish = draw_want(at, "exchange")
        except NotDrawn:
            continue
        instead = wish.otherwise
        assert instead is not None and instead.said["order_id"] == wish.said["order_id"]
        row = world.row("lines", instead.said["lines"][0])
        assert row is not None and row.order.id == wish.said["order_id"]
        drawn += 1
    assert drawn > 4


def test_an_empty_choice_is_proved_by_the_search_that_finds_nothing(airline: Domain) -> None:
    world = build_world(airline, SEED)
    for number in range(400):
        case = draw_behaviour(airline, world, random.Random(f"nothing/{number}"), "book-works", fires=False).case
        if case.wants[-1].wish == "book_far":
            break
    want = case.wants[-1]
    late = replace(want, limits={**want.limits, "at": "2031-07-30"})  # no flight is planned as late as that
    found = behave(airline, world, replace(case, wants=(late,)))
    assert found.endings == (Ending.IMPOSSIBLE,)
    assert any("search_one_stop" in cell.column for cell in found.proof)
    assert [look.name for look in path_of(airline, found).looks] == ["search_one_stop"]


@pytest.mark.parametrize(("left", "refused"), [(5_000, False), (4_999, True)])
def test_what_a_cheaper_flight_paid_back_is_not_taken_from_an_account_where_it_was_spent(
    airline: Domain, left: int, refused: bool
) -> None:
    """A cancellation gives every charge back, what was paid back included: no account goes below nothing by that."""
    world = build_world(airline, SEED)
    reservation, account = next(
        (r, m)
        for r in world.rows("reservations")
        for m in world.rows("methods")
        if r.state == "booked" and m.kind == "account" and all(c.method != m for c in r.charges)
    )
    draft = world.draft()
    draft.add("charges", {"reservation": reservation.id, "method": account.id, "amount": -5_000})
    draft.set("methods", account.id, {"balance": left})
    args = {"reservation_id": reservation.id, "ground": "work"}
    outcome = call(airline, draft.world(), Session(), "cancel_reservation", args)
    assert (outcome.refusal.error if outcome.refusal else None) == ("refund_spent" if refused else None)


def test_a_description_with_a_comma_ends_where_it_ends() -> None:
    """ "Cancel order (…; stage: open, promised: …), no_use, and tell me": what comes after it is said as well."""
    marks = (("stage", "open"), ("promised", "2031-09-05"))
    want = Want("refund", {"cause": "no_use"}, described={"order_id": marks})
    assert undetermined(load(BUILTIN / "retail"), want) == []


def test_a_rule_about_another_call_of_the_case_is_not_steered_in_this_one() -> None:
    """What a payment rule names is not there where a flight is booked: no edit, and no stage that ends by it."""
    airline = load(BUILTIN / "airline")
    booked = draw_behaviour(airline, build_world(airline, 1), random.Random(1), wish="book")
    rule = airline.rule("pay-low")
    assert not airline.groups_of(booked.results[-1].call.name) & set(rule.applies)
    assert list(flips(airline, booked.results[-1], rule, True)) == []
