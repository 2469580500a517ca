"""The pump: every item once, whatever its number has to do with the journal's segments."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from flywheel_api.records.base import PassRate
from flywheel_jobs.core.errors import EndpointUnavailable, ItemDropped
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.harness.journal import SEGMENT_ITEMS, Item
from flywheel_jobs.harness.pump import Pump


class Book:
    """A journal that only counts."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, item: Item) -> bool:
        self.items.append(item)
        return len(self.items) % SEGMENT_ITEMS == 0


async def pumped(count: int, seconds: float = 0.0) -> Book:
    book = Book()

    async def work(item: int) -> PassRate:
        await asyncio.sleep(seconds)
        if item == 3:
            raise ItemDropped("third")
        return PassRate(n=item, k=0)

    async def flush() -> None:
        await asyncio.sleep(0)

    pump = Pump(book, "items", work, flush, lambda: None)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await pump.run({str(n): n for n in range(count)}, 8)
    return book


@pytest.mark.parametrize("count", [1, SEGMENT_ITEMS - 1, SEGMENT_ITEMS, SEGMENT_ITEMS + 1, 2 * SEGMENT_ITEMS])
@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_it_ends_also_when_the_last_item_fills_a_segment(count: int, seconds: float) -> None:
    book = await pumped(count, seconds)
    assert sorted(int(i.key) for i in book.items) == list(range(count))
    assert [i.dropped for i in book.items if i.dropped] == (["third"] if count > 3 else [])


async def ended(count: int, fail: dict[int, Exception]) -> tuple[Book, BaseException | None]:
    """What is in the journal, and how the phase ended; `fail` says which items raise what."""
    book = Book()

    async def work(item: int) -> PassRate:
        await asyncio.sleep(0.001)
        if item in fail:
            raise fail[item]
        return PassRate(n=item, k=0)

    async def flush() -> None:
        await asyncio.sleep(0)

    pump = Pump(book, "items", work, flush, lambda: None)  # type: ignore[arg-type]
    try:
        await pump.run({str(n): n for n in range(count)}, 4)
    except Exception as error:
        return book, error
    return book, None


async def test_what_breaks_on_one_item_costs_that_item() -> None:
    book, error = await ended(40, {3: RecursionError("deep"), 9: ValueError("4300 digits")})
    assert error is None and len(book.items) == 40
    assert [i.key for i in book.items if i.dropped == "crashed"] == ["3", "9"]


async def test_a_crash_is_shown_without_what_the_item_held(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where nobody has set up logs: there the library's own renderer prints every local of every frame."""
    structlog.reset_defaults()
    book = Book()

    async def work(item: int) -> PassRate:
        world = {f"row-{n}": "cell" for n in range(1000)}
        if item == 3:
            raise ValueError(f"odd {item} of {len(world)}")
        return PassRate(n=item, k=0)

    async def flush() -> None:
        await asyncio.sleep(0)

    pump = Pump(book, "items", work, flush, lambda: None)  # type: ignore[arg-type]
    await pump.run({str(n): n for n in range(30)}, 4)
    said = "".join(capfd.readouterr())
    assert "odd 3 of 1000" in said and "test_pump.py" in said and "row-7" not in said and len(said) < 6000


@pytest.mark.parametrize("count", [3, 40])
async def test_what_breaks_on_many_items_is_the_program(count: int) -> None:
    book, error = await ended(count, {n: ValueError("bug") for n in range(count)})
    assert isinstance(error, ValueError) and not book.items  # nothing is written down for good


async def test_a_result_that_cannot_be_written_costs_its_item_and_not_the_segment() -> None:
    class Odd(PassRate):
        def dump(self) -> dict[str, object]:
            return {"text": "\ud83d"}

    book = Book()

    async def work(item: int) -> PassRate:
        return Odd(n=1, k=0) if item == 3 else PassRate(n=1, k=0)

    async def flush() -> None:
        await asyncio.sleep(0)

    pump = Pump(book, "items", work, flush, lambda: None)  # type: ignore[arg-type]
    await pump.run({str(n): n for n in range(8)}, 2)
    assert [i.key for i in book.items if i.dropped] == ["3"] and len(book.items) == 8


async def test_refused_items_are_asked_again_when_it_was_the_endpoint() -> None:
    refused: dict[int, Exception] = {n: RequestRefused("request-refused", "x") for n in range(3)}
    book, error = await ended(30, {**refused, 20: EndpointUnavailable("refused alike")})
    assert isinstance(error, EndpointUnavailable)
    assert not any(i.dropped for i in book.items) and book.items
    book, error = await ended(30, refused)
    assert error is None and sum(i.dropped == "request-refused" for i in book.items) == 3
