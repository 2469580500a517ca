"""Supervised fine-tuning before RL: run once, committed by itself, taken over by whoever needs the same (law 13).

An attempt looks for the committed model first, so that a training that is lost in RL never fine-tunes again. One that
is lost in the fine-tuning begins it again.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest
from flywheel_api.common import Reuse
from flywheel_api.content import content_key, warm_up_content
from flywheel_api.ends import End
from flywheel_api.results import WarmUpResult
from flywheel_api.stages import WARM_UP_STAGE, TrainConfig
from flywheel_api.verl.settings import PLUGINS_ENV, worker_environment
from flywheel_api.verl.warm_up import warm_up_settings
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import publish, signals
from flywheel_jobs.trainer.failures import Terminated, TrainingFailed, diagnose
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_jobs.trainer.process import start_verl
from flywheel_jobs.trainer.standalone import ray_settings
from flywheel_jobs.trainer.workspace import Workspace

TRAINER = ("-m", "flywheel_jobs.trainer.run_sft")
SETTINGS = "sft-settings.json"
POLL_SECONDS = 0.5
LOSS = "train/loss"
log = get_logger(__name__)

MakeManifest = Callable[[WarmUpResult, list[FileEntry], Counts], Manifest]


class WarmUp:
    """The fine-tuning of one attempt. `make`: a manifest of the attempt; `stopping`: the pod was asked to go."""

    def __init__(
        self,
        config: TrainConfig,
        attempt: Attempt,
        workspace: Workspace,
        nodes: Nodes,
        make: MakeManifest,
        stopping: threading.Event,
    ) -> None:
        spec = config.spec
        self._config, self._attempt, self._workspace, self._nodes = config, attempt, workspace, nodes
        self._make, self._stopping = make, stopping
        self._made_of = warm_up_content(spec, config.made_of)
        only_for = config.content_key if spec.reuse is Reuse.NEVER else None
        self._content = content_key(self._made_of, only_for)
        self._key = artifacts.manifest_key(config.owner.namespace, self._content)
        self._mark = os.urandom(8).hex()
        self._planned: signals.Planned | None = None
        self._refused: signals.Refused | None = None
        self._losses: list[float] = []

    def standing(self) -> tuple[str, WarmUpResult] | None:
        """Digest and result of the fine-tuned model, if somebody has committed it."""
        manifest = self._attempt.store.manifest_at(self._key)
        if manifest is None:
            return None
        if not isinstance(manifest.result, WarmUpResult):
            raise CorruptArtifact(f"{manifest.digest} is a {manifest.kind} where a warm-up was expected")
        return manifest.digest, manifest.result

    def run(self, model: str, files: Sequence[Path]) -> None:
        """Fine-tunes and commits. Raises a FlywheelError."""
        self._attempt.update(text="starting the warm-up")
        code, lines = self._train(model, files)
        if self._refused is not None:
            raise ValidationFailure(self._refused.message, self._refused.reason)
        if code != 0 or self._planned is None:
            raise diagnose(code, lines)
        if not all(map(math.isfinite, self._losses)):
            raise TrainingFailed("the warm-up's loss is not finite: lower warmUp.learningRate", End.DIVERGED)
        self._commit(self._planned)

    def _train(self, model: str, files: Sequence[Path]) -> tuple[int, list[str]]:
        spec = self._config.spec
        plugins = os.environ.get(PLUGINS_ENV, "")
        environment = worker_environment(spec, str(self._workspace.rollouts), self._mark, plugins)
        folder = str(self._workspace.warming)
        told = warm_up_settings(spec, model, [str(f) for f in files], folder, environment) | ray_settings()
        path = self._workspace.root / SETTINGS
        path.write_text(json.dumps(told, indent=1))
        child = start_verl(TRAINER, path, environment, self._on_line)
        try:
            while child.poll() is None:
                if self._stopping.wait(POLL_SECONDS):
                    raise Terminated("the pod was asked to stop in the warm-up, which the next attempt begins again")
            return child.wait(), list(child.lines)
        finally:
            child.stop()

    def _on_line(self, line: str) -> None:
        for said in signals.parse(line, self._mark):
            match said:
                case signals.Planned():
                    self._planned = said
                case signals.Refused():
                    self._refused = said
                case signals.Stepped() if LOSS in said.numbers and self._planned is not None:
                    self._losses.append(said.numbers[LOSS])
                    text = f"warm-up: step {said.step} of {self._planned.steps}, loss {self._losses[-1]:.3f}"
                    self._attempt.update(text=text)

    def _commit(self, plan: signals.Planned) -> None:
        self._attempt.update(text="uploading the warm-up's model")
        folder = signals.checkpoint_folder(self._workspace.warming, plan.steps)
        files = [f for part in self._nodes.each(uploaded, folder, self._workspace.model) for f in part]
        if not any(f.path.endswith(".safetensors") for f in files):
            raise TrainingFailed("verl ended the warm-up well and wrote no model: see its log")
        result = WarmUpResult(conversations=plan.kept, too_long=plan.prompts - plan.kept, losses=self._losses)
        dropped = [Dropped(reason="too-long", count=result.too_long)] if result.too_long else []
        manifest = self._make(result, files, Counts(in_=plan.prompts, out=plan.kept, dropped=dropped))
        own = {"stage": WARM_UP_STAGE, "content_key": self._content, "made_of": self._made_of}
        digest = self._attempt.store.commit(manifest.model_copy(update=own), self._key).digest
        self._nodes.tell(signals.forget, self._workspace.warming)
        log.info("warm-up committed", digest=digest, steps=plan.steps)


def uploaded(folder: Path, base: Path) -> list[FileEntry]:
    """The model, from the node where verl wrote it, with the base's own files; nothing from others."""
    model = folder / "huggingface"
    if not any(model.glob("*.safetensors")):
        return []
    publish.keep_own(base, model)
    return publish.model_files(Store.from_env(), model)
