"""What is told of a promoted model to those who meet it outside the store: read from manifests, never from memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.base import HUB
from flywheel_api.results import DatasetResult, ModelResult, TrainingResult, VerdictResult
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.storage.models import LICENCES
from flywheel_jobs.storage.store import Store

MODEL = "model/"
_GENERATIONS = 256  # trainings that a model may come from, one after the other


@dataclass(frozen=True)
class Data:
    """A data set that a training read."""

    name: str
    digest: str
    rows: int


@dataclass(frozen=True)
class Training:
    """A training that the model went through."""

    owner: str
    digest: str
    result: TrainingResult
    data: tuple[Data, ...]


@dataclass(frozen=True)
class Facts:
    """A promoted model. `base` is what the first training began from; `origin` its checkpoint, where the store has it.

    `trainings` are in the order in which they were made.
    """

    model: Manifest
    verdict: VerdictResult
    verdict_digest: str
    base: str
    origin: Manifest | None
    trainings: tuple[Training, ...]
    standin: bool

    @property
    def source(self) -> str:
        """Where the base came from."""
        result = self.origin.result if self.origin else None
        return result.source if isinstance(result, ModelResult) and result.source else self.base

    @property
    def licence(self) -> str:
        """The base's licence, as far as it is known."""
        result = self.origin.result if self.origin else None
        return result.licence if isinstance(result, ModelResult) else ""

    def files(self) -> dict[str, FileEntry]:
        """The directory: the model's files, and the base's licence, which goes with what is made of it."""
        terms = [f for f in self.origin.files if _is_licence(f.path)] if self.origin else []
        return {f.path.removeprefix(MODEL): f for f in (*terms, *self.model.files) if f.path.startswith(MODEL)}


def facts_of(store: Store, verdict: VerdictResult, verdict_digest: str, standin: bool) -> Facts:
    """The promoted model's facts. Raises CorruptArtifact when a manifest of its line is missing."""
    model = store.get_manifest(verdict.model)
    line = list(_line(store, verdict.model))
    oldest = line[-1][1]
    origin = oldest if isinstance(oldest.result, ModelResult) else None
    trained = [(d, m) for d, m in reversed(line) if isinstance(m.result, TrainingResult)]
    base = line[-1][0] if origin else oldest.inputs.get("model") or "a model that the store does not know"
    trainings = tuple(_training(store, digest, manifest) for digest, manifest in trained)
    return Facts(model, verdict, verdict_digest, base, origin, trainings, standin or model.standin)


def _line(store: Store, digest: str) -> Iterator[tuple[str, Manifest]]:
    """The model, what it was trained from, and so on to the first that the store knows."""
    for _ in range(_GENERATIONS):
        manifest = store.get_manifest(digest)
        yield digest, manifest
        before = manifest.inputs.get("model")
        if before is None or before.startswith(HUB):
            return
        digest = before
    raise CorruptArtifact(f"the lineage of {digest} has no beginning")


def _training(store: Store, digest: str, manifest: Manifest) -> Training:
    assert isinstance(manifest.result, TrainingResult)
    data = []
    for name, ref in sorted(manifest.inputs.items()):
        read = store.get_manifest(ref) if name.startswith("train") else None
        if read is not None and isinstance(read.result, DatasetResult):
            data.append(Data(read.result.track.value, ref, sum(f.records or 0 for f in read.files)))
    return Training(manifest.owner.name, digest, manifest.result, tuple(data))


def _is_licence(path: str) -> bool:
    name = path.removeprefix(MODEL).upper()
    return path.startswith(MODEL) and name.startswith(LICENCES)
