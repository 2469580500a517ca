"""What the base round handed on, found by the lineage of its rollouts: training's data set, and the stages behind it.

A track hands its own on in the stage that ends it. What belongs to a track that a round does not have is carried by
its Prepare, so that a round of one track breaks no chain of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from flywheel_api.artifacts import Manifest
from flywheel_api.records.base import Record
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.storage.datasets import read_records
from flywheel_jobs.storage.store import Store

R = TypeVar("R", bound=Record)
log = get_logger(__name__)


def handed_on(
    store: Store, rollouts: Iterable[str], stage: Stage, path: str, kind: type[R], same: Callable[[R], str]
) -> list[R]:
    """Records of a file that `stage` of the base round wrote, or that its Prepare carried in place of the stage.

    Both trainings of a round lead to the same stages, and records that are the `same` are one. What was pruned is not
    read, with a word in the log.
    """
    entries = [m.file(path) for m in _behind(store, rollouts, stage).values()]
    found: dict[str, R] = {}
    for record in (r for entry in entries if entry is not None for r in read_records(store, entry, kind)):
        found.setdefault(same(record), record)
    return list(found.values())


def _behind(store: Store, rollouts: Iterable[str], stage: Stage) -> dict[str, Manifest]:
    """By digest: the stage where the base round had it, Prepare where it had not."""
    found: dict[str, Manifest] = {}
    for digest in rollouts:
        try:
            data = store.get_manifest(digest).inputs.get("train")
            made = store.get_manifest(data).inputs if data else {}
            ended = made.get(stage) or _read(store, made, stage) or _read(store, made, Stage.PREPARE)
            if ended is not None and ended not in found:
                found[ended] = store.get_manifest(ended)
        except CorruptArtifact as error:
            log.warning("what an earlier round handed on cannot be read", rollouts=digest, error=str(error))
    return found


def _read(store: Store, made: dict[str, str], stage: Stage) -> str | None:
    """The stage's digest, by any of those that the data was made of: they have read it."""
    read = (store.get_manifest(digest).inputs.get(stage) for digest in made.values())
    return next((digest for digest in read if digest), None)
