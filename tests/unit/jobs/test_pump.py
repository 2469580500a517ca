"""The pump: every item once, whatever its number has to do with the journal's segments."""

from __future__ import annotations

import asyncio

import pytest

from flywheel_api.records.base import PassRate
from flywheel_jobs.core.errors import ItemDropped
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
