"""Weather is a table: when rows strike, what clients meet over real HTTP, and that a stage is none the worse for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from contract import stages
from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint, Stage
from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints import line, pace
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.storage.store import Store
from flywheel_standin import faults
from flywheel_standin.faults import Faults
from flywheel_standin.protocol import MODEL_NAME
from flywheel_standin.server import build, main
from flywheel_store.memory import MemoryBucket
from unit.jobs.test_endpoint_hour import Text

SECONDS = (0, 0, 0, 1, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("row", "strikes"),
    [
        ({}, "xxxxxxxxxx"),
        ({"after": 1, "until": 3}, "...xxx...."),
        ({"until": 1, "every": 3}, "xxx...x..x"),
        ({"first": 2}, "xx........"),
        ({"first": 2, "after": 1}, "...xx....."),
        ({"share": 0}, ".........."),
        ({"rate": 1}, ".xx.x....."),
        ({"rate": 0.5}, ".xxxx.x.x."),
        ({"purse": 3, "filled_after": 2}, "...xxx...x"),
    ],
    ids=str,
)
def test_when_a_row_strikes(row: dict[str, Any], strikes: str) -> None:
    weather = Faults([{"status": 503, **row}])
    assert "".join("x" if weather.next(100.0 + at) else "." for at in SECONDS) == strikes


def test_the_first_row_that_strikes_is_met_and_equal_tables_strike_alike() -> None:
    rows = [{"name": "a", "share": 0.3}, {"name": "b", "share": 0.5, "seed": 1}]
    one, two = (
        ["" if (f := w.next(0.0)) is None else f.name for _ in range(300)] for w in (Faults(rows), Faults(rows))
    )
    assert one == two and {"a", "b", ""} == set(one) and 60 < one.count("a") < 120


def test_tables_are_found_by_name_or_file_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text('[{"status": 503}]')
    assert faults.table(str(own)) == [{"status": 503}]
    assert all(faults.table(path.stem) for path in faults.FOLDER.iterdir())
    for text, says in (("- {stauts: 503}", "stauts"), ("status: 503", "list of rows"), ("- {share: 2}", "share")):
        own.write_text(text)
        with pytest.raises(ValueError, match=says):
            faults.table(str(own))
    with pytest.raises(SystemExit):
        main(["--weather", "bda"])
    assert "bad, hour, limit" in capsys.readouterr().err


def quick(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the demo's table for 150 requests on a machine of any speed: counts and shares for times and rates."""
    counts = {"first": 3} if "until" in row else {"share": 0.05} if "rate" in row else {}
    counts |= {"purse": 60} if "purse" in row else {}
    counts |= {"share": max(0.03, row["share"])} if "share" in row else {}
    waits = {k: row[k] / 50 for k in ("retry_after", "filled_after", "hang_seconds") if k in row}
    return {k: v for k, v in row.items() if k not in ("after", "until", "rate")} | waits | counts


async def test_a_stage_in_the_demos_bad_weather_ends_like_a_calm_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (line, pace):
        for name in vars(module).keys() & {"BACKOFF_BASE", "BACKOFF_CAP", "BASE", "CAP"}:
            monkeypatch.setattr(module, name, 0.02)
    rows = [quick(row) for row in faults.table("bad")]
    seen: list[str] = []

    class Watched(Faults):
        def next(self, now: float) -> faults.Fault | None:
            fault = super().next(now)
            seen.append(fault.name if fault else "calm")
            return fault

    monkeypatch.setattr("flywheel_standin.server.Faults", Watched)
    monkeypatch.setattr(faults, "parsed", lambda text: rows)
    config = stages.config(Stage.SYNTHESIZE_REASONING, stages.round_spec(), "http://unused", {})
    store, refused = Store(MemoryBucket()), 0
    async with TestServer(build({})) as server:
        endpoint = ResolvedEndpoint(role=Role.TEACHER, url=str(server.make_url("/v1")), model=MODEL_NAME)
        for number in range(1, 30):
            made = config.model_copy(update={"endpoints": [endpoint], "attempt": number})
            ctx = StageContext(made, store)
            await ctx.open()

            async def work(item: int, ctx: StageContext = ctx) -> Text:
                said = await ctx.llm(Role.TEACHER).chat([{"role": "user", "content": f"item {item}"}])
                return Text(text=said.text)

            try:
                found = await ctx.map_items(range(150), str, work, Text)
                break
            except EndpointUnavailable as error:
                assert error.reason == "EndpointRefused", error
                refused += 1
                await asyncio.sleep(0.1)
            finally:
                await ctx.close()
    assert len(found) == 150 and not ctx.dropped
    assert set(seen) == {str(row["name"]) for row in rows} | {"calm"} and refused >= 1
