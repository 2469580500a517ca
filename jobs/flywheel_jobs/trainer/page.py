"""The page of the round that a training is a stage of, drawn anew while it runs: no other stage takes as long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from flywheel_api.artifacts import Owner
from flywheel_api.results import CurvePoint
from flywheel_api.stages import STAGE_CONFIG_ENV, StageConfig
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.runner import load_config
from flywheel_jobs.report.page import draw
from flywheel_jobs.storage.store import Store

PAUSE = 60.0  # seconds between two drawings
log = get_logger(__name__)


class RoundPage:
    """Drawn by a thread of its own, one at a time: it may cost a look, never a step. None of a job without a round."""

    def __init__(
        self, store: Store, job: Owner, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._clock = store, clock
        self._config = _round_of(job, environ)
        self._next = clock()
        self.drawing: threading.Thread | None = None

    def refresh(self, curve: Sequence[CurvePoint]) -> None:
        """Draws it with the training's curve so far, unless that was done less than a minute ago."""
        busy = self.drawing is not None and self.drawing.is_alive()
        if self._config is None or busy or self._clock() < self._next:
            return
        self._next = self._clock() + PAUSE
        self.drawing = threading.Thread(target=self._draw, args=(self._config, curve), name="page", daemon=True)
        self.drawing.start()

    def _draw(self, config: StageConfig, curve: Sequence[CurvePoint]) -> None:
        try:
            draw(config, self._store, samples=False, curve=curve)
        except Exception as error:
            log.warning("the round's page is not drawn anew", error=str(error))


def _round_of(job: Owner, environ: Mapping[str, str]) -> StageConfig | None:
    """The stage as its round has it. A round of another namespace has no page that this job may draw."""
    if STAGE_CONFIG_ENV not in environ:
        return None
    try:
        config = load_config(environ)
    except ValidationFailure as problem:
        log.warning("the round's page is not drawn", error=str(problem))
        return None
    return config if config.owner.namespace == job.namespace else None
