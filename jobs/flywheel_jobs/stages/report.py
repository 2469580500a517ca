"""Report: one HTML file about the round, in the manifest and under a stable key that a person can open.

Each stage that starts draws it anew, so that there is one to look at from the first minute on.
"""

from __future__ import annotations

import asyncio

from flywheel_api.artifacts import Counts, report_key
from flywheel_api.results import ReportResult
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.report.load import load
from flywheel_jobs.report.render import render

log = get_logger(__name__)
FILE = "report.html"


async def run(ctx: StageContext) -> StageResult:
    """Draws the report of the round that `ctx.config.timeline` and the manifests describe."""
    ctx.progress(0, None, "reading the round's manifests")
    page, uri, missing = await asyncio.to_thread(_draw, ctx, True)
    ctx.progress(1, 1, "report written")
    return StageResult(
        ReportResult(uri=uri, missing=missing),
        files=[OutputFile(FILE, page, "report-html/v1", records=1)],
        counts=Counts(in_=1, out=1),
    )


async def so_far(ctx: StageContext) -> None:
    """Draws the page of a round that goes on, from what is small: it must cost the stage neither memory nor its end."""
    try:
        _, uri, _ = await asyncio.to_thread(_draw, ctx, False)
    except Exception as error:
        log.warning("the round's page is not drawn anew", error=str(error))
    else:
        ctx.attempt.update(report=uri)


def _draw(ctx: StageContext, samples: bool) -> tuple[bytes, str, list[str]]:
    """The page, where it lies, what it lacks. Each drawing replaces the last; the manifest's blob is what counts."""
    model = load(ctx.config, ctx.store, samples=samples)
    page, key = render(model).encode(), report_key(ctx.config.owner)
    ctx.store.put_bytes(key, page, "text/html; charset=utf-8")
    return page, ctx.store.uri(key), list(model.missing)
