"""Worlds: built from a seed and shared, patched and never changed, read with a trace and with what is known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_domains.diff import Diff, diff
from flywheel_domains.domain import Domain
from flywheel_domains.errors import DomainError
from flywheel_domains.expr import Cell, Trace, compile_expr
from flywheel_domains.generate import build_world
from flywheel_domains.ids import Ids, IdsUsedUp, space
from flywheel_domains.load import parse
from flywheel_domains.unknown import UNKNOWN
from flywheel_domains.world import Draft, World
from unit.domains.small import SHED, changed


@pytest.fixture(scope="module")
def shed() -> Domain:
    return parse(SHED)


@pytest.fixture(scope="module")
def small(shed: Domain) -> World:
    return build_world(shed, 3)


# ---- generating ---------------------------------------------------------------------------------------------------


def test_a_world_is_a_function_of_domain_and_seed(shed: Domain) -> None:
    assert build_world(shed, 3) is build_world(shed, 3)
    assert build_world(parse(SHED), 3).digest == build_world(shed, 3).digest
    assert build_world(shed, 4).digest != build_world(shed, 3).digest


def test_limits_have_values_below_at_and_above() -> None:
    bias = "bias: {limits: [now, now - hours(24)], step: hours(1), share: 0.9}"
    text = changed("gen: {hours: [-48, 48]}", f"gen: {{hours: [-48, 48], {bias}}}", changed("rows: 6", "rows: 60"))
    world = build_world(parse(text), 1)
    now = world.domain.clock.moment
    seen = {row.due - now for row in world.rows("loans")}
    hour = timedelta(hours=1)
    assert {-hour, 0 * hour, hour, -25 * hour, -24 * hour, -23 * hour} <= seen


@pytest.mark.parametrize(
    ("old", "bias", "column", "often"),
    [
        ("gen: {weights: {free: 2, lent: 1}", "weights: {lent: 1}", "state", "lent"),
        ("gen: {range: [0, 5000]", "range: [7777, 7777]", "credit", 7777),
    ],
)
def test_a_share_of_the_rows_comes_from_elsewhere(old: str, bias: str, column: str, often: object) -> None:
    larger = changed("rows: 8", "rows: 90", changed("rows: 6", "rows: 70"))
    text = changed(old, f"{old}, bias: {{{bias}, share: 0.9}}", larger)
    rows = build_world(parse(text), 1).rows("bikes" if column == "state" else "people")
    assert 0.8 * len(rows) < sum(getattr(row, column) == often for row in rows) < len(rows) + (column == "state")


@pytest.mark.parametrize(
    ("gen", "says"),
    [
        ('{code: "P#"}', "people.columns.id: P# has 10 ids"),
        ("{value: same}", "id"),
        ("{expr: \"'P' + name\"}", "made twice"),
    ],
)
def test_ids_that_do_not_reach_are_a_fault(gen: str, says: str) -> None:
    text = changed('id: {gen: {code: "P##"}}', f"id: {{gen: {gen}}}", changed("rows: 6", "rows: 400"))
    text = text.replace("name: {type: string, gen: {name: full}}", "name: {type: string, gen: {name: first}}")
    with pytest.raises(DomainError, match=says):
        build_world(parse(text), 1)


def test_a_generator_that_fails_is_named_with_its_line() -> None:
    text = changed("fee: {type: money, gen: {pick: [300, 700]}}", "fee: {type: money, gen: {expr: 1 // 0}}")
    with pytest.raises(DomainError, match=r"domain\.yaml:20: tables\.bikes\.columns\.fee: integer division"):
        build_world(parse(text), 1)


@given(st.sampled_from(["#", "@#", "A##", "@@", "Z"]), st.text(max_size=3))
def test_ids_are_never_given_twice(pattern: str, seed: str) -> None:
    ids = Ids.of(pattern, seed)
    size = space(pattern)
    made = [ids.number(k) for k in range(size)]
    assert len(set(made)) == size and all(len(id) == len(pattern) for id in made)
    with pytest.raises(IdsUsedUp):
        ids.number(size)


# ---- reading ------------------------------------------------------------------------------------------------------


def test_what_is_read_is_traced(small: World) -> None:
    loan = small.rows("loans")[0]
    trace = Trace()
    view = small.view(trace)
    row = view.row("loans", loan.id)
    assert trace == set()
    assert row.bike.fee > 0
    assert trace == {Cell("loans", loan.id, "bike"), Cell("bikes", loan.bike.id, "fee")}
    trace.clear()
    assert [each.id for each in view.row("people", loan.person.id).loans]
    assert trace == {Cell("loans", "*", f"person={loan.person.id}")}
    trace.clear()
    assert view.row("people", "nobody") is None
    assert trace == {Cell("people", "nobody", "id")}


def test_what_is_not_known_is_unknown(small: World) -> None:
    loan = small.rows("loans")[0]
    cells = {Cell("loans", loan.id, "bike")}
    row = small.view(known=cells).row("loans", loan.id)
    assert row.bike.id == loan.bike.id
    assert row.bike.fee is UNKNOWN and row.due is UNKNOWN and row.person is UNKNOWN
    view = small.view(known=frozenset())
    assert view.rows("bikes") is UNKNOWN
    assert view.row("people", "nobody") is UNKNOWN
    assert view.row("people", loan.person.id).loans is UNKNOWN


def test_a_list_that_does_not_show_a_row_says_that_it_is_not_of_it(small: World) -> None:
    loan = small.rows("loans")[0]
    other = next(p for p in small.rows("people") if p != loan.person)
    listed = {Cell("loans", "*", f"person={other.id}")}
    expr = compile_expr("l.person != p")
    assert expr.eval(small.view(known=listed).scope({"l": small.row("loans", loan.id), "p": other})) is True
    view = small.view(known=listed)
    assert expr.eval(view.scope({"l": view.row("loans", loan.id), "p": view.row("people", other.id)})) is True
    mine = view.row("people", loan.person.id)
    assert expr.eval(view.scope({"l": view.row("loans", loan.id), "p": mine})) is UNKNOWN
    both = small.view(known=listed | {Cell("loans", "*", f"person={loan.person.id}")})
    own = {"l": both.row("loans", loan.id), "p": both.row("people", loan.person.id)}
    assert expr.eval(both.scope(own)) is not True  # the list of the one it belongs to does not exclude them


def test_a_listing_is_one_cell(small: World) -> None:
    expr = compile_expr("count(listing('free_bikes', most=most))")
    trace = Trace()
    scope = small.view(trace).scope({"most": 700})
    free = min(3, sum(b.state == "free" for b in small.rows("bikes")))
    assert expr.eval(scope) == free > 0
    assert trace == {Cell("bikes", "*", 'free_bikes({"most":700})')}
    assert expr.eval(small.view(known=frozenset(trace)).scope({"most": 700})) == free
    assert expr.eval(small.view(known=frozenset()).scope({"most": 700})) is UNKNOWN
    assert expr.eval(small.view().scope({"most": UNKNOWN})) is UNKNOWN


def test_a_let_that_is_read_again_adds_its_cells_again(small: World) -> None:
    bike = small.rows("bikes")[0]
    view = small.view(Trace())
    scope = view.scope({"bike_id": bike.id}, {"k": compile_expr("row('bikes', bike_id)"), "f": compile_expr("k.fee")})
    for _ in range(2):
        view.trace = Trace()
        assert compile_expr("f > 0").eval(scope) is True
        assert view.trace == {Cell("bikes", bike.id, "fee")}


def test_the_clock_can_be_patched(small: World) -> None:
    loan = small.rows("loans")[0]
    for late, moment in ((True, loan.due + timedelta(minutes=1)), (False, loan.due)):
        world = small.at(moment)
        assert compile_expr("late(l)").eval(world.view().scope({"l": world.row("loans", loan.id)})) is late
        assert world.draft().world().now == moment


# ---- writing ------------------------------------------------------------------------------------------------------


def test_a_draft_changes_nothing_but_its_own(small: World) -> None:
    before, bike = small.digest, small.rows("bikes")[0]
    draft = small.draft()
    draft.set("bikes", bike.id, {"fee": 1})
    assert small.digest == before and small.row("bikes", bike.id).fee != 1
    changed_world = draft.world()
    assert changed_world.row("bikes", bike.id).fee == 1
    assert changed_world.base is small.base
    assert changed_world.with_cells({Cell("bikes", bike.id, "fee"): bike.fee}).digest == before


@pytest.mark.parametrize(
    ("table", "values", "says"),
    [
        ("bikes", {"fee": "much"}, "bikes.fee: an amount is expected"),
        ("bikes", {"fee": None}, "bikes.fee is never empty"),
        ("bikes", {"id": "B9"}, "no column id that can be written"),
        ("bikes", {"colour": "red"}, "no column colour"),
        ("bikes", {"state": "gone"}, "one of free, lent"),
        ("loans", {"bike": "B99"}, "bikes has no B99"),
        ("loans", {"person": None}, "loans.person is never empty"),
    ],
)
def test_what_a_column_does_not_hold_is_refused(small: World, table: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small.draft().set(table, small.rows(table)[0].id, values)


def test_an_id_is_never_given_again(small: World) -> None:
    bike, person = small.rows("bikes")[0], small.rows("people")[0]
    given = []
    world = small
    for _ in range(3):
        draft = world.draft()
        loan = draft.add("loans", {"person": person, "bike": bike.id, "due": "2031-03-15T10:00"})
        given.append(loan.id)
        draft.drop("loans", loan.id)
        world = draft.world()
    assert len(set(given)) == 3 and not set(given) & {loan.id for loan in small.rows("loans")}
    assert world.digest == small.digest
    with pytest.raises(ValueError, match="is not there"):
        small.draft().drop("loans", given[0])


def test_folded_columns_are_stored_folded(small: World) -> None:
    draft = small.draft()
    person = small.rows("people")[0]
    draft.set("people", person.id, {"email": " Some.Body@MAIL.example "})
    assert draft.row("people", person.id).email == "some.body@mail.example"


def test_invariants_are_checked(small: World) -> None:
    person = small.rows("people")[0]
    assert small.check() == []
    wrong = small.with_cells({Cell("people", person.id, "credit"): -1})
    assert wrong.check() == [f"people/{person.id}: not so: it.credit >= 0"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "drop", "move", "fee"]), st.integers(0, 5), st.integers(0, 7)), max_size=8
)


def play(world: World, steps: list[tuple[str, int, int]]) -> Draft:
    draft = world.draft()
    people, bikes = world.rows("people"), world.rows("bikes")
    for what, a, b in steps:
        loans = draft.rows("loans")
        if what == "add":
            draft.add("loans", {"person": people[a].id, "bike": bikes[b].id, "due": "2031-03-15T10:00"})
        elif what == "fee":
            draft.set("bikes", bikes[b].id, {"fee": 100 * a})
        elif loans and what == "drop":
            draft.drop("loans", loans[b % len(loans)].id)
        elif loans:
            draft.set("loans", loans[b % len(loans)].id, {"person": people[a].id})
    return draft


@given(STEPS)
def test_lists_are_what_a_search_would_find(steps: list[tuple[str, int, int]]) -> None:
    world = build_world(parse_once(), 3)
    draft = play(world, steps)
    for person in draft.rows("people"):
        found = draft.children("loans", "person", person.id)
        assert len(found) == len(set(found))
        assert set(found) == {loan.id for loan in draft.rows("loans") if loan.person == person}


@given(STEPS)
def test_a_difference_is_empty_only_for_the_same(steps: list[tuple[str, int, int]]) -> None:
    world = build_world(parse_once(), 3)
    after = play(world, steps).world()
    assert diff(world, world) == diff(after, after) == Diff()
    if after.digest == world.digest:
        assert not diff(world, after)
    assert bool(diff(world, after)) == bool(diff(after, world))


_SHED: list[Domain] = []


def parse_once() -> Domain:
    if not _SHED:
        _SHED.append(parse(SHED))
    return _SHED[0]


# ---- differences --------------------------------------------------------------------------------------------------


def lend(world: World, *pairs: tuple[int, int], note: str | None = None) -> World:
    draft = world.draft()
    people, bikes = world.rows("people"), world.rows("bikes")
    for person, bike in pairs:
        row = {"person": people[person].id, "bike": bikes[bike].id, "due": "2031-03-15T10:00", "note": note}
        draft.add("loans", row)
    return draft.world()


def test_created_rows_are_compared_by_content_and_not_by_order(small: World) -> None:
    one, other = lend(small, (0, 1), (2, 3)), lend(small, (2, 3), (0, 1))
    assert one.digest != other.digest
    assert diff(small, one) == diff(small, other) != diff(small, lend(small, (0, 3), (2, 1)))


def test_once_is_not_twice(small: World) -> None:
    assert diff(small, lend(small, (0, 1))) != diff(small, lend(small, (0, 1), (0, 1)))


def test_text_that_is_not_compared(small: World) -> None:
    assert diff(small, lend(small, (0, 1), note="a")) == diff(small, lend(small, (0, 1), note="b"))


def test_a_child_that_was_replaced_by_its_like_is_as_it_was(small: World) -> None:
    loan = small.rows("loans")[0]
    draft = small.draft()
    draft.add("loans", {"person": loan.person, "bike": loan.bike, "due": loan.due})
    draft.drop("loans", loan.id)
    assert draft.world().digest != small.digest
    assert not diff(small, draft.world())


def test_children_of_created_rows_stay_with_their_parents(tern: Domain) -> None:
    world = build_world(tern, 1)
    member, (one, two) = world.rows("members")[0], world.rows("departures")[:2]

    def booked(*groups: tuple[Any, ...]) -> World:
        draft = world.draft()
        for departures in groups:
            row = {"member": member, "trip": "single", "cabin": "club", "booked_at": "2031-03-14T10:00", "cover": False}
            booking = draft.add("bookings", {**row, "bags": 0, "state": "live", "changes": 0})
            for departure in departures:
                draft.add("segments", {"booking": booking, "departure": departure, "price": 1})
        return draft.world()

    same = diff(world, booked((one,), (two,)))
    assert same == diff(world, booked((two,), (one,)))
    assert same != diff(world, booked((one, two), ()))
    assert diff(world, booked((one, two))) == diff(world, booked((two, one)))
