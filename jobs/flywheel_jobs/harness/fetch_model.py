"""`fetch-model --model REF --to DIR`: puts a committed checkpoint into a directory, every file verified."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from flywheel_api.base import HUB
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.harness.attempt import end
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage.cache import ModelCache
from flywheel_jobs.storage.models import fetch_model
from flywheel_jobs.storage.store import Store

MARKER = ".flywheel-model"  # written last, holds the digest or the hub reference
log = telemetry.get_logger(__name__)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="sha256:<digest>, s3://bucket/prefix or hf://org/name")
    parser.add_argument("--to", required=True, type=Path, help="directory, made if absent")
    parser.add_argument("--progress", help="key in the store under which the bytes that have come are told")
    args = parser.parse_args()
    telemetry.configure(command="fetch-model", model=args.model)
    pulse: Pulse | None = None
    try:
        if args.progress:
            pulse = pulse_at(args.progress)
            pulse.start()
        fetch(args.model, args.to)
        return 0
    except Exception as error:
        return end(error, None)
    finally:
        if pulse is not None:
            pulse.stop()


def pulse_at(key: str) -> Pulse:
    """What tells the bytes that have come. Without a heartbeat: all pods that fetch the model share the key."""
    pulse = Pulse(Store.from_env(), key, heartbeat=False)
    pulse.update(text="fetching the model")
    return pulse


def fetch(model: str, to: Path) -> None:
    """Fetches `model` into `to`; a hub reference is left to the engine and only marked."""
    to.mkdir(parents=True, exist_ok=True)
    if model.startswith(HUB):
        (to / MARKER).write_text(model)
        log.info("left to the engine")
        return
    manifest = fetch_model(Store.from_env(), model, to, ModelCache.of(os.environ))
    (to / MARKER).write_text(manifest.digest)
    log.info("fetched", digest=manifest.digest, files=len(manifest.files), bytes=sum(f.size for f in manifest.files))
