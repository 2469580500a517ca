"""The process of a CPU stage: configuration from the environment, the stage, its commit, its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from pydantic import ValidationError

from flywheel_api.stages import STAGE_CONFIG_ENV, Stage, StageConfig
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.attempt import Attempt, end
from flywheel_jobs.harness.context import ShardDone, StageContext, StageResult
from flywheel_jobs.harness.kept_output import KeptOutput
from flywheel_jobs.storage.store import Store

Again = Callable[[StageContext], Awaitable[None]]
Work = Callable[[StageContext], Awaitable[StageResult]]
log = telemetry.get_logger(__name__)
TERMINATED = 143  # 128 + SIGTERM: the pod was asked to go; nothing failed


class Terminated(Exception):
    """SIGTERM: finished items are in the journal."""


def load_config(environ: Mapping[str, str]) -> StageConfig:
    """The stage's configuration. Raises ValidationFailure that names the first wrong field."""
    text = environ.get(STAGE_CONFIG_ENV)
    if not text:
        raise ValidationFailure(f"{STAGE_CONFIG_ENV} is not set: the operator gives it to every stage pod")
    try:
        return StageConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ValidationFailure(f"{STAGE_CONFIG_ENV} is not a stage configuration: {where}: {first['msg']}") from error


async def run_stage(ctx: StageContext, work: Work, again: Again | None = None) -> str | None:
    """Runs the stage to its commit and returns the committed digest; None when other shards still work.

    `again` is what has to be done although the result stands already.
    """
    try:
        standing = await asyncio.to_thread(ctx.attempt.standing)
        if standing is not None and again is not None and ctx.shard:
            return standing  # the first shard does it, and tells the operator when it is done
        if standing is not None:
            if again is not None:
                await again(ctx)
            return await asyncio.to_thread(ctx.attempt.committed)
        await ctx.open()
        return await ctx.commit(await work(ctx))
    except ShardDone:
        return None
    finally:
        await ctx.close()


async def _run_until_terminated(ctx: StageContext, work: Work, again: Again | None) -> str | None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(run_stage(ctx, work, again))
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            raise Terminated from None
        raise


def run(stages: Mapping[Stage, Work], again: Mapping[Stage, Again]) -> int:
    """Runs the stage that the pod's environment names to its end; returns the exit code."""
    attempt: Attempt | None = None
    output = KeptOutput()
    telemetry.configure()
    try:
        config = load_config(os.environ)
        telemetry.configure(stage=config.stage.value, round=config.owner.name, attempt=config.attempt)
        store = Store.from_env()
        attempt = Attempt(store, config.owner, config.stage.value, config.attempt, config.content_key)
        shard = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
        output.into(store, attempt.log_keys(shard))
        attempt.pulse.start()
        ctx = StageContext(config, store, shard, attempt)
        digest = asyncio.run(_run_until_terminated(ctx, stages[config.stage], again.get(config.stage)))
        log.info("committed" if digest else "shard done", digest=digest)
        return 0
    except Terminated:
        log.warning("terminated; finished items are in the journal")
        return TERMINATED
    except Exception as error:
        return end(error, attempt)
    finally:
        if attempt is not None:
            attempt.pulse.stop()
        output.close()
