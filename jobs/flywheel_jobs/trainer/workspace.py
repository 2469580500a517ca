"""Where a training run keeps its files: the same absolute paths on every Ray node."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from flywheel_api.stages import MODEL_DIR_ENV, TrainConfig
from flywheel_api.verl.settings import RunPaths

WORK_DIR_ENV = "FLYWHEEL_WORK_DIR"
MODELS_VOLUME = Path("/models")


@dataclass(frozen=True)
class Workspace:
    """Folders of one attempt. `root` is scratch; `model` may lie on a volume that an init container filled."""

    root: Path
    model: Path

    @property
    def data(self) -> Path:
        """Parquet files."""
        return self.root / "data"

    @property
    def checkpoints(self) -> Path:
        """verl's `global_step_<n>` folders."""
        return self.root / "checkpoints"

    @property
    def rollouts(self) -> Path:
        """Recorded trajectories, `step-<n>/<pid>.jsonl`."""
        return self.root / "rollouts"

    @property
    def domains(self) -> Path:
        """Domain packages; agent loops look for them beside the recorded trajectories."""
        return domains_beside(self.rollouts)

    @property
    def warming(self) -> Path:
        """What the warm-up writes."""
        return self.root / "warming"

    @property
    def warm(self) -> Path:
        """The model that RL starts from, where there was a warm-up."""
        return self.root / "warm"

    @property
    def merged(self) -> Path:
        """The final model in Hugging Face layout."""
        return self.root / "merged"

    def paths(self, train: list[Path], validation: list[Path], model: str | None = None) -> RunPaths:
        """The paths that verl is told; `model` overrides the local folder (a hub name)."""
        return RunPaths(
            model=model or str(self.model),
            train=tuple(map(str, train)),
            validation=tuple(map(str, validation)),
            checkpoints=str(self.checkpoints),
            rollouts=str(self.rollouts),
            agent_loops=agent_loops_file(),
        )


def domains_beside(rollouts: Path) -> Path:
    """Where the packages of the run lie whose trajectories are recorded there."""
    return rollouts.parent / "domains"


def base_folder() -> Path:
    """Where all attempts have their folders on this node."""
    return Path(os.environ.get(WORK_DIR_ENV) or Path(tempfile.gettempdir()) / "flywheel")


def workspace_of(config: TrainConfig) -> Workspace:
    """Folders by uid and attempt, so that no attempt sees files of another one on a node that both used."""
    root = base_folder() / f"{config.owner.uid}-a{config.attempt}"
    return Workspace(root=root, model=_model_dir(root))


def agent_loops_file() -> str:
    """The registration file of our agent loops, inside the installed package."""
    return str(resources.files("flywheel_jobs.trainer") / "agent_loops.yaml")


def _model_dir(root: Path) -> Path:
    named = os.environ.get(MODEL_DIR_ENV)
    if named:
        return Path(named)
    if MODELS_VOLUME.is_dir() and os.access(MODELS_VOLUME, os.W_OK):
        return MODELS_VOLUME / "policy"
    return root / "model"
