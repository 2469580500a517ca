"""What the small built-in domain and those with data of their own need: rows as they are, plain answers, a prompt."""

from __future__ import annotations

import pytest

from flywheel_domains.domain import Domain
from flywheel_domains.errors import DomainError
from flywheel_domains.generate import build_world
from flywheel_domains.load import parse
from flywheel_domains.session import Session
from flywheel_domains.tools import call

DESK = """
format: flywheel.dev/domain/v1
domain: desk
caller: people
clock: {now: "2031-01-01T00:00"}
types: {colour: [red, blue]}
prompt: {compact: true, examples: [{asks: Show A., calls: [{tool: get, args: {id: A}, answers: red}]}]}
tables:
  people: {rows: 2, columns: {id: {gen: {seq: "P%d"}}}}
  things:
    rows: [{id: A, colour: red, owner: P1}, {id: B, colour: blue, owner: P2, note: old}]
    columns:
      id:     {type: string}
      colour: {type: colour}
      owner:  {ref: people}
      size:   {type: int, gen: {range: [5, 5]}}
      note:   {type: string, nullable: true, gen: {value: null}}
lookups: {other: "(c): 'red' if c == 'blue' else 'blue'"}
views: {thing: {of: things, show: [colour, note, size], plain: true}}
tools:
  get: {read: {get: things, key: id, show: thing}, about: Show a thing., short: look, args: {id: {ref: things}}}
"""


@pytest.fixture(scope="module")
def desk() -> Domain:
    return parse(DESK)


def test_rows_that_are_given_are_the_rows_of_every_world_and_the_rest_of_them_is_generated(desk: Domain) -> None:
    rows = build_world(desk, 7).base.tables["things"]
    assert [rows[id]["owner"] for id in ("A", "B")] == ["P1", "P2"]
    assert [rows[id]["size"] for id in ("A", "B")] == [5, 5]


def test_a_plain_view_answers_with_the_values_alone(desk: Domain) -> None:
    world = build_world(desk, 0)
    assert call(desk, world, Session(), "get", {"id": "B"}).answer == "blue, old, 5"
    assert call(desk, world, Session(), "get", {"id": "A"}).answer == "red, 5"


def test_who_calls_can_be_named_where_no_tool_proves_it(desk: Domain) -> None:
    assert desk.caller_table == "people"


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("colour: green, owner: P1", "colour: red, owner: P1", "red, blue"),
        ("owner: P2, nota: old", "owner: P2, note: old", "no column nota"),
        ("{id: B, owner: P2, note: old}", "{id: B, colour: blue, owner: P2, note: old}", "no generator"),
        ("caller: persons", "caller: people", "no table persons"),
        ("calls: [{tool: look, args: {id: A}", "calls: [{tool: get, args: {id: A}", "no tool look"),
        ("calls: [{tool: get, args: {key: A}", "calls: [{tool: get, args: {id: A}", "no argument key"),
        ("lookups: {starts: ", "lookups: {other: ", "function of the language"),
        ("plain: true, with: {people: [id]}}", "plain: true}", "one line"),
    ],
)
def test_what_is_wrong_with_them_is_said_with_its_line(wrong: str, right: str, said: str) -> None:
    text = DESK.replace(right, wrong)
    assert text != DESK
    with pytest.raises(DomainError) as found:
        parse(text)
    assert said in str(found.value) and "domain.yaml:" in str(found.value)


def test_a_given_row_that_refers_to_nothing_is_found_when_a_world_is_made() -> None:
    with pytest.raises(DomainError, match="people has no P9"):
        build_world(parse(DESK.replace("owner: P2", "owner: P9")), 0)
