"""Report: one HTML file about the round, in the manifest and under a stable key that a person can open."""

from __future__ import annotations

import asyncio

from flywheel_api.artifacts import Counts, report_key
from flywheel_api.results import ReportResult
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.report.load import load
from flywheel_jobs.report.render import render

FILE = "report.html"


async def run(ctx: StageContext) -> StageResult:
    """Draws the report of the round that `ctx.config.timeline` and the manifests describe."""
    ctx.progress(0, None, "reading the round's manifests")
    model = await asyncio.to_thread(load, ctx.config, ctx.store)
    page = render(model).encode()
    key = report_key(ctx.config.owner)
    # the copy may be replaced by a later attempt; the manifest's blob is what counts
    await asyncio.to_thread(ctx.store.put_bytes, key, page, "text/html; charset=utf-8")
    ctx.progress(1, 1, "report written")
    return StageResult(
        ReportResult(uri=ctx.store.uri(key), missing=list(model.missing)),
        files=[OutputFile(FILE, page, "report-html/v1", records=1)],
        counts=Counts(in_=1, out=1),
    )
