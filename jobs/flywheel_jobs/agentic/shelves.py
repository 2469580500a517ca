"""The domains of a stage: those that Prepare checked and pinned, or is about to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from weakref import WeakKeyDictionary

from flywheel_api.results import PreparedResult
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.domains.packages import Package
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.harness.context import StageContext

PACKAGE_SCHEMA = "domain-package/v1"
_SHELVES: WeakKeyDictionary[StageContext, Shelf] = WeakKeyDictionary()


def shelf_of(ctx: StageContext) -> Shelf:
    """The stage's shelf, with the packages of Prepare's manifest once there is one. Raises CorruptArtifact."""
    if ctx not in _SHELVES:
        _SHELVES[ctx] = shelf = Shelf(Path(tempfile.mkdtemp(prefix="flywheel-domains-")))
        for package in _pinned(ctx):
            shelf.put(package)
    return _SHELVES[ctx]


def pins(ctx: StageContext) -> dict[str, str]:
    """Digests of the round's packages by name."""
    return {pin.name: pin.digest for pin in ctx.result(Stage.PREPARE, PreparedResult).domains}


def _pinned(ctx: StageContext) -> list[Package]:
    """The packages of Prepare's manifest: those that it pinned, and those of suites of earlier rounds."""
    if Stage.PREPARE not in ctx.inputs:
        return []
    entries = [f for f in ctx.input(Stage.PREPARE).files if f.record_schema == PACKAGE_SCHEMA]
    there = {f"sha256:{entry.sha256}" for entry in entries}
    if lost := [name for name, digest in pins(ctx).items() if digest not in there]:
        raise CorruptArtifact(f"the manifest of {Stage.PREPARE} has no package of domain {', '.join(lost)}")
    return [Package(entry.path, ctx.store.get_blob(entry.sha256)) for entry in entries]
