"""What a run reads: model, Parquet files and domain packages, fetched and verified on every node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet

from flywheel_api.artifacts import Manifest
from flywheel_api.base import HUB
from flywheel_api.ends import End
from flywheel_api.rljob import RLJobSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.harness.fetch_model import fetch
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import truths

REQUIRED_COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
CONVERSATION_COLUMNS = ("messages",)


@dataclass(frozen=True)
class Inputs:
    """Local files, how many rows train, and the manifests behind them (none for plain s3:// files)."""

    train: list[Path]
    validation: list[Path]
    warm_up: list[Path]
    rows: int
    manifests: dict[str, Manifest]

    @property
    def digests(self) -> dict[str, str]:
        """Name to digest, for the `inputs` of our own manifests."""
        return {name: manifest.digest for name, manifest in self.manifests.items()}

    @property
    def standin(self) -> bool:
        """Whether a stand-in had a part in any input."""
        return any(m.standin for m in self.manifests.values())


def fetch_model(ref: str, to: Path) -> None:
    """The checkpoint's files on this node; files already right (an init container's) are kept."""
    if not ref.startswith(HUB):
        fetch(ref, to)


def fetch_data(spec: RLJobSpec, to: Path, domains: Path) -> Inputs:
    """The Parquet files and domain packages on this node.

    Checked for verl's columns, for at least one step's prompts, and for tasks that can be played.
    """
    store = Store.from_env()
    manifests: dict[str, Manifest] = {}
    train = _fetch_all(store, "train", list(spec.data.train), to, manifests)
    validation = _fetch_all(store, "validation", list(spec.data.validation), to, manifests)
    warm_up = _fetch_all(store, "warmUp", list(spec.warm_up.data) if spec.warm_up else [], to, manifests)
    for path in warm_up:
        _rows(path, CONVERSATION_COLUMNS)
    rows = sum(_rows(path) for path in train)
    if rows < spec.algorithm.prompts_per_step:
        raise ValidationFailure(
            f"data.train has {rows} rows, fewer than algorithm.promptsPerStep {spec.algorithm.prompts_per_step}: "
            "add data or lower promptsPerStep",
            reason=End.TOO_LITTLE_DATA,
        )
    shelf = Shelf(domains)
    for ref in spec.agent_loop.domains if spec.agent_loop is not None else ():
        shelf.put(packages.find(ref, store))
    for path in [*train, *validation]:
        truths.check(path, spec, shelf)
    return Inputs(train, validation, warm_up, rows, manifests)


def total_steps(spec: RLJobSpec, rows: int) -> int:
    """The most steps that a run can have, until verl has read the data: it drops prompts that are too long."""
    steps = rows // spec.algorithm.prompts_per_step * spec.algorithm.epochs
    return steps if spec.algorithm.max_steps is None else min(steps, spec.algorithm.max_steps)


def _fetch_all(store: Store, name: str, refs: list[str], to: Path, manifests: dict[str, Manifest]) -> list[Path]:
    paths: list[Path] = []
    for number, ref in enumerate(refs):
        folder = to / f"{name}-{number}"
        if ref.startswith("s3://"):
            paths.append(_fetch_uri(store, ref, folder))
            continue
        manifest = store.get_manifest(ref)
        files = [f for f in manifest.files if f.path.endswith(".parquet")]
        if not files:
            raise ValidationFailure(f"{name} {ref} holds no Parquet file: give a dataset of the Package stage")
        manifests[name if not number else f"{name}-{number}"] = manifest
        for entry in files:
            path = folder / Path(entry.path).name
            store.fetch_blob(entry.sha256, path)
            paths.append(path)
    return paths


def _fetch_uri(store: Store, uri: str, folder: Path) -> Path:
    """A Parquet file by address. It has no digest, so it is not verified."""
    path = folder / Path(uri).name
    if store.fetch(uri, path) is None:
        raise ValidationFailure(f"{uri} does not exist", reason="DataNotFound")
    return path


def _rows(path: Path, columns: Sequence[str] = REQUIRED_COLUMNS) -> int:
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:
        raise ValidationFailure(f"{path.name} is not a Parquet file: {error}") from error
    missing = [c for c in columns if c not in file.schema_arrow.names]
    if missing:
        raise ValidationFailure(f"{path.name} lacks verl's columns {', '.join(missing)}", reason="InvalidDataset")
    return int(file.metadata.num_rows)
