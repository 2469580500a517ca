"""Values at a tool's door: one form inside, whatever form was written."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_domains.args import BadArgs, Given, NotFound, read_args, schema_of
from flywheel_domains.domain import Domain
from flywheel_domains.unknown import UNKNOWN
from flywheel_domains.values import ColumnType, fold, json_schema, normalise, plain

MONEY, YEN = ColumnType("money"), ColumnType("money", minor=0)
CABIN = ColumnType("enum", values=("saver", "Club"))


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (MONEY, 1628, 1628),
        (MONEY, 1628.0, 1628),
        (MONEY, "1628", 1628),
        (MONEY, "1,628", 1628),
        (MONEY, "$1,628", 162800),
        (MONEY, "16.28", 1628),
        (MONEY, "€16.2", 1620),
        (MONEY, "1,628.00 EUR", 162800),
        (MONEY, "EUR 16.28", 1628),
        (MONEY, "16.280", 1628),
        (MONEY, "-$0.05", -5),
        (MONEY, "$-0.05", -5),
        (YEN, "¥1,628", 1628),
        (ColumnType("int"), 25.0, 25),
        (ColumnType("int"), "25", 25),
        (ColumnType("int"), "-1,025", -1025),
        (ColumnType("bool"), "True", True),
        (ColumnType("date"), "2031-03-14", date(2031, 3, 14)),
        (ColumnType("date"), date(2031, 3, 14), date(2031, 3, 14)),
        (ColumnType("datetime"), "2031-03-14 10:00", datetime(2031, 3, 14, 10)),
        (ColumnType("datetime"), "2031-03-14T10:00:30", datetime(2031, 3, 14, 10, 0, 30)),
        (CABIN, "SAVER", "saver"),
        (CABIN, " club ", "Club"),
        (ColumnType("string"), "  Ada  ", "Ada"),
        (ColumnType("string"), "Ada\u0308", "Adä"),
        (ColumnType("ref", table="x"), 17, "17"),
        (ColumnType("list", item=ColumnType("int")), ["1", 2.0], (1, 2)),
    ],
)
def test_one_form_inside(kind: ColumnType, raw: object, expected: object) -> None:
    assert normalise(kind, raw) == expected


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (MONEY, 16.28),
        (MONEY, "16.285"),
        (YEN, "16.5"),
        (MONEY, "16,28"),
        (MONEY, "1.628,00"),
        (MONEY, "much"),
        (MONEY, True),
        (MONEY, 10**16),
        (MONEY, None),
        (ColumnType("int"), 1.5),
        (ColumnType("int"), True),
        (ColumnType("int"), "1.5"),
        (ColumnType("int"), float("nan")),
        (ColumnType("int"), float("inf")),
        (ColumnType("bool"), 1),
        (ColumnType("date"), "14.3.2031"),
        (ColumnType("date"), "2031-3-14"),
        (ColumnType("date"), "2031-02-30"),
        (ColumnType("date"), "today"),
        (ColumnType("date"), datetime(2031, 3, 14)),
        (ColumnType("datetime"), "2031-03-14"),
        (ColumnType("datetime"), "2031-03-14T10:00Z"),
        (CABIN, "first"),
        (ColumnType("string"), 7),
        (ColumnType("ref", table="x"), True),
        (ColumnType("list", item=ColumnType("int")), "12"),
    ],
)
def test_what_is_no_such_value(kind: ColumnType, raw: object) -> None:
    with pytest.raises(ValueError, match=r"expected|at most|whole number|day is"):
        normalise(kind, raw)


def test_an_amount_with_a_fraction_is_told_its_unit() -> None:
    with pytest.raises(ValueError, match="whole number of minor units"):
        normalise(MONEY, 16.28)


@given(st.integers(-(10**12), 10**12))
def test_money_is_the_same_however_it_is_written(cents: int) -> None:
    sign, size = ("-" if cents < 0 else ""), abs(cents)
    written = (cents, str(cents), f"{sign}{size // 100}.{size % 100:02}", f"{sign}€{size // 100:,}.{size % 100:02}")
    assert {normalise(MONEY, each) for each in written} == {cents}


@given(st.text(max_size=20))
def test_folding_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text) == fold(f" {text}  ")


def test_plain_is_json() -> None:
    value = {"a": [date(2031, 3, 14), datetime(2031, 3, 14, 10)], "b": None, "c": timedelta(hours=2), "d": (1, True)}
    assert plain(value) == {"a": ["2031-03-14", "2031-03-14T10:00"], "b": None, "c": 120, "d": [1, True]}
    with pytest.raises(TypeError):
        plain(1.5)


BOOK: dict[str, Any] = {
    "member_id": "M1",
    "trip": "single",
    "cabin": "CLUB",
    "departures": ["TA1"],
    "travellers": [{"name": " Ada ", "birth_date": "2000-01-01"}],
    "pay": [{"wallet_id": "W1", "amount": "€445.00"}],
    "bags": 0,
    "cover": False,
}


def test_nested_arguments_are_read_by_their_declaration(tern: Domain) -> None:
    found = read_args(tern, tern.tools["book_trip"], BOOK)
    assert found["cabin"] == "club"
    assert found["travellers"] == [Given({"name": "Ada", "birth_date": date(2000, 1, 1)})]
    assert found["pay"][0].get("amount") == 44500


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cabin": "first"}, "cabin: one of saver, standard, club"),
        ({"cabin": None}, "cabin is missing"),
        ({"tip": 1}, "there is no argument tip"),
        ({"departures": []}, "departures: the number of entries is at least 1"),
        ({"departures": ["TA1"] * 5}, "departures: the number of entries is at most 4"),
        ({"travellers": [{"name": "x"}]}, r"travellers\[0\].birth_date is missing"),
        ({"travellers": [{"name": "x", "birth_date": "2000-01-01", "z": 1}]}, r"no argument travellers\[0\].z"),
        ({"travellers": {"name": "x"}}, "travellers: a list is expected"),
        ({"travellers": ["x"]}, r"travellers\[0\]: an object is expected"),
        ({"travellers": [{"name": "x", "birth_date": "2000-01-01"}] * 201}, "at most 200"),
        ({"bags": -1}, "bags is at least 0"),
    ],
)
def test_wrong_arguments_are_said(tern: Domain, change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadArgs, match=says):
        read_args(tern, tern.tools["book_trip"], {**BOOK, **change})


def test_references_are_looked_up_and_unknown_values_pass(tern: Domain) -> None:
    tool = tern.tools["book_trip"]
    with pytest.raises(NotFound) as error:
        read_args(tern, tool, BOOK, lambda table, id: id != "W1")
    assert (error.value.table, error.value.id) == ("wallets", "W1")
    assert read_args(tern, tool, {**BOOK, "cabin": UNKNOWN})["cabin"] is UNKNOWN
    with pytest.raises(BadArgs, match="an object"):
        read_args(tern, tool, [1])


def test_the_schema_says_what_the_door_checks(tern: Domain) -> None:
    schema = schema_of(tern, tern.tools["book_trip"])["parameters"]
    assert schema["required"] == list(BOOK)
    assert schema["properties"]["cabin"] == {"type": "string", "enum": ["saver", "standard", "club"]}
    assert schema["properties"]["departures"]["maxItems"] == 4
    assert schema["properties"]["bags"] == {"type": "integer", "minimum": 0}
    assert schema["properties"]["pay"]["items"]["properties"]["amount"]["type"] == "integer"
    assert "required" not in schema_of(tern, tern.tools["find_member"])["parameters"]["properties"]["email"]
    assert schema_of(tern, tern.tools["find_member"])["parameters"]["required"] == []
    assert json_schema(ColumnType("list", item=CABIN))["items"]["enum"] == ["saver", "Club"]
