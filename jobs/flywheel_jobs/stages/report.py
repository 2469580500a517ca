"""Report: one HTML file about the round, in the manifest and under a stable key that a person can open.

Each stage that starts draws it anew, and a training while it runs (`trainer/page.py`), so that there is one to look at
from the first minute on.
"""

from __future__ import annotations

import asyncio

from flywheel_api.artifacts import Counts
from flywheel_api.results import ReportResult
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.report.page import draw

log = get_logger(__name__)
FILE = "report.html"


async def run(ctx: StageContext) -> StageResult:
    """Draws the report of the round that `ctx.config.timeline` and the manifests describe."""
    ctx.progress(0, None, "reading the round's manifests")
    page = await asyncio.to_thread(draw, ctx.config, ctx.store)
    ctx.progress(1, 1, "report written")
    return StageResult(
        ReportResult(uri=page.uri, missing=list(page.missing)),
        files=[OutputFile(FILE, page.html, "report-html/v1", records=1)],
        counts=Counts(in_=1, out=1),
    )


async def so_far(ctx: StageContext) -> None:
    """Draws the page of a round that goes on, from what is small: it must cost the stage neither memory nor its end."""
    try:
        page = await asyncio.to_thread(draw, ctx.config, ctx.store, samples=False)
    except Exception as error:
        log.warning("the round's page is not drawn anew", error=str(error))
    else:
        ctx.attempt.update(report=page.uri)
