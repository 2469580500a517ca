"""The process of a CPU stage: configuration from the environment, the stage, its commit, its exit code.

A stage is a module `flywheel_jobs.stages.<snake_case stage>` with `async def run(ctx) -> StageResult`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import signal
from collections.abc import Mapping

from pydantic import ValidationError

from flywheel_api.stages import STAGE_CONFIG_ENV, StageConfig
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.attempt import Attempt, end
from flywheel_jobs.harness.context import OutputFile, ShardDone, StageContext, StageResult
from flywheel_jobs.storage.store import Store

__all__ = ["OutputFile", "StageContext", "StageResult", "main", "run_stage"]

log = telemetry.get_logger(__name__)
TERMINATED = 143  # 128 + SIGTERM: the pod was told to go; nothing failed


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


def stage_module(stage: str) -> str:
    """`MineReasoning` as `flywheel_jobs.stages.mine_reasoning`."""
    return f"flywheel_jobs.stages.{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', stage).lower()}"


async def run_stage(ctx: StageContext) -> str | None:
    """Runs the stage to its commit and returns the committed digest; None when other shards still work."""
    standing = await asyncio.to_thread(ctx.attempt.committed)
    if standing is not None:
        return standing
    try:
        await ctx.open()
        module = importlib.import_module(stage_module(ctx.config.stage.value))
        result = await module.run(ctx)
        return await ctx.commit(result)
    except ShardDone:
        return None
    finally:
        await ctx.close()


async def _run_until_told_to_stop(ctx: StageContext) -> str | None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(run_stage(ctx))
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


def main() -> int:
    """Entry point `stage`: returns the exit code."""
    attempt: Attempt | None = None
    telemetry.configure()
    try:
        config = load_config(os.environ)
        telemetry.configure(stage=config.stage.value, round=config.owner.name, attempt=config.attempt)
        store = Store.from_env()
        attempt = Attempt(store, config.owner, config.stage.value, config.attempt, config.content_key)
        attempt.start_heartbeat()
        ctx = StageContext(config, store, int(os.environ.get("JOB_COMPLETION_INDEX", "0")), attempt)
        digest = asyncio.run(_run_until_told_to_stop(ctx))
        log.info("committed" if digest else "shard done", digest=digest)
        return 0
    except Terminated:
        log.warning("terminated; finished items are in the journal")
        return TERMINATED
    except Exception as error:
        return end(error, attempt)
    finally:
        if attempt is not None:
            attempt.stop_heartbeat()
