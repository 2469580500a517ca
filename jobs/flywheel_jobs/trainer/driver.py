"""One attempt of an RLJob: fetch, resume, train, upload, publish.

The order of effects makes every crash harmless: checkpoints are committed create-only beside training, the final
manifest comes last, and an attempt that finds all steps already committed, by whomever, only publishes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from flywheel_api.artifacts import STANDIN_NOTICE, Counts, Dropped, FileEntry, Manifest, Usage
from flywheel_api.base import HUB
from flywheel_api.causes import FlywheelError
from flywheel_api.ends import End
from flywheel_api.overrides import check_overrides
from flywheel_api.results import CurvePoint, Result, RolloutsResult, TrainingResult, WarmUpResult
from flywheel_api.rljob import CheckpointSpec, OnCollapse, RLJobSpec
from flywheel_api.sign_rows import WORKERS_KILLED
from flywheel_api.stages import IMAGE_ENV, TRAIN_STAGE, TrainConfig
from flywheel_api.verl.hardware import is_cpu, rollout_dtype
from flywheel_api.verl.settings import PLUGINS_ENV, settings, worker_environment
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.errors import StoreProblem, ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.core.version import code_version
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.trainer import inputs, publish, signals
from flywheel_jobs.trainer.checkpoints import Checkpoint, Checkpoints, History
from flywheel_jobs.trainer.failures import Terminated, TrainingFailed, diagnose
from flywheel_jobs.trainer.guard import suspect_from, suspicion
from flywheel_jobs.trainer.metrics import joined, point_of
from flywheel_jobs.trainer.nodes import NodeLost, Nodes, Stranding
from flywheel_jobs.trainer.page import RoundPage
from flywheel_jobs.trainer.process import Child, start_verl
from flywheel_jobs.trainer.standalone import ray_settings
from flywheel_jobs.trainer.sync import Sync
from flywheel_jobs.trainer.trackers import Tracking, tracking_of
from flywheel_jobs.trainer.trail import Trail
from flywheel_jobs.trainer.truths import nothing_right
from flywheel_jobs.trainer.warm_up import WarmUp
from flywheel_jobs.trainer.workspace import Workspace, workspace_of

TRAINER = ("-m", "flywheel_jobs.trainer.run_verl")
SETTINGS = "verl-settings.json"
POLL_SECONDS = 0.5
UPLOAD_STALL_SECONDS = 600.0  # how long training may wait for a store that lags by a whole checkpoint
CLOSING_SECONDS = 5.0  # of the grace period, for what is said after the last upload
STARTUP_SIGNS = (
    ("[validate_config]", "configuration checked, connecting to Ray"),
    ("(TaskRunner", "loading the policy and its rollout engine"),
    ("Training Progress", "first step"),
)
"""What a line of verl's start-up says, in the order in which they come; before the first step there are no numbers."""
KILLED = re.compile(r"(?:\x1b\[\d+m)*\(raylet\b.*" + WORKERS_KILLED)
"""Ray's own word, at the start of a line (what workers print has their names before it), that it ended a worker."""
KILLED_GRACE_SECONDS = 60.0  # for verl's own end, which says more; mostly it waits for that worker for ever
log = get_logger(__name__)


def kept(spec: RLJobSpec) -> CheckpointSpec:
    """The checkpoint policy: the best one has to be there where it may be published."""
    if not spec.publishes_best(stopped=spec.on_collapse is OnCollapse.STOP):
        return spec.checkpoint
    return spec.checkpoint.model_copy(update={"keep_best": max(1, spec.checkpoint.keep_best)})


class Driver:
    """State of one attempt. `run` does it all and returns the digest that stands."""

    def __init__(self, config: TrainConfig, attempt: Attempt) -> None:
        self.config = config
        self.spec = config.spec
        self.attempt = attempt
        self.store = attempt.store
        self.workspace: Workspace = workspace_of(config)
        self.nodes = Nodes(spread=not is_cpu(self.spec), trainers=self.spec.nodes)
        self.checkpoints = Checkpoints(
            self.store,
            config.owner.namespace,
            config.content_key,
            kept(self.spec),
            self.workspace.checkpoints,
            self.nodes,
        )
        self.trail = Trail(attempt, self.workspace.root / "tensorboard")
        self.page = RoundPage(self.store, config.owner, os.environ)
        self.tracking: Tracking | None = None
        self.started = time.monotonic()
        self.stopping = threading.Event()
        self.history = History()
        self.total = 0
        self.mark = os.urandom(8).hex()  # by which we know our own lines among what models and rewards print
        self.dropped_prompts = 0
        self._refused: signals.Refused | None = None
        self._groups: signals.Groups | None = None
        self._startup = list(STARTUP_SIGNS)
        self.unhealthy: str | None = None
        self.warmed: WarmUpResult | None = None
        self.collapsed = threading.Event()
        self.stranded: NodeLost | None = None
        self._killed_at: float | None = None  # on the monotonic clock

    def run(self) -> str:
        """Trains what is left to train and commits. Raises a FlywheelError on any failure."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._text("fetching model and data")
        self.inputs = self._fetch()
        self.total = inputs.total_steps(self.spec, self.inputs.rows)
        self.attempt.update(total=self.total)
        self.checkpoints.load()
        self._text("looking for a checkpoint to resume from")
        self.history = self.checkpoints.restore()
        resumed = self.history.resumed_from
        if resumed is not None:
            last = self.checkpoints.committed[resumed].manifest
            self.attempt.update(
                done=resumed,
                step=resumed,
                resumed_from_step=resumed,
                checkpoint_step=resumed,
                checkpoint_digest=last.digest,
            )
            log.info("resuming", step=resumed, digest=last.digest, made_by=last.owner.name)
        self.tracking = tracking_of(self.config, self._tracked)
        left = resumed is None or resumed < self.total
        if self.spec.warm_up is not None:
            self._warm_up(left)
        if left:
            self._train()
        return self._publish()

    def _tracked(self, where: str | None, wrong: str | None) -> None:
        self.attempt.update(tracked=where, untracked=wrong)

    # ---- inputs ---------------------------------------------------------------------------------------------------
    def _fetch(self) -> inputs.Inputs:
        self.nodes.each(inputs.fetch_model, self.config.model, self.workspace.model)
        return self.nodes.each(inputs.fetch_data, self.spec, self.workspace.data, self.workspace.domains)[0]

    # ---- warm-up --------------------------------------------------------------------------------------------------
    def _warm_up(self, trains: bool) -> None:
        """Has the model that RL starts from on every node, fine-tuned now or before."""
        warm_up = WarmUp(self.config, self.attempt, self.workspace, self.nodes, self._manifest, self.stopping)
        done = warm_up.standing()
        if done is None and trains:
            warm_up.run(self._start(), self.inputs.warm_up)
            done = warm_up.standing()
        if done is None:
            return
        digest, self.warmed = done
        self.inputs.manifests["warmModel"] = self.store.get_manifest(digest)
        if trains:
            self.nodes.each(inputs.fetch_model, digest, self.workspace.warm)

    def _start(self) -> str:
        """The model that verl is told to load: a hub's name, which it asks for itself, or a folder."""
        if self.warmed is not None:
            return str(self.workspace.warm)
        hub = self.config.model.removeprefix(HUB) if self.config.model.startswith(HUB) else None
        return hub or str(self.workspace.model)

    # ---- training -------------------------------------------------------------------------------------------------
    def _write_settings(self) -> Path:
        """What verl is told, as a file for `run_verl`. Overrides of the chart's flavours come here first."""
        wrong = check_overrides(self.spec.overrides)
        if wrong:
            raise ValidationFailure("; ".join(wrong), End.INVALID_OVERRIDE)
        paths = self.workspace.paths(self.inputs.train, self.inputs.validation, self._start())
        owner = self.config.owner
        plugins = os.environ.get(PLUGINS_ENV, "")
        told = settings(self.spec, paths, owner.name, owner.namespace, mark=self.mark, plugins=plugins) | ray_settings()
        path = self.workspace.root / SETTINGS
        path.write_text(json.dumps(told, indent=1))
        return path

    def _train(self) -> None:
        path = self._write_settings()
        self.nodes.each(signals.announce_uploader, self.workspace.checkpoints, UPLOAD_STALL_SECONDS)
        self.sync = Sync(
            self.attempt,
            self.checkpoints,
            self.history,
            self.nodes,
            self.workspace.rollouts,
            self._manifest,
            self._show,
        )
        self.sync.start()
        self.nodes.need()
        self._text("starting verl")
        self.page.refresh(self.history.curve.upto(self.total))
        environment = worker_environment(
            self.spec, str(self.workspace.rollouts), self.mark, os.environ.get(PLUGINS_ENV, "")
        )
        if self.tracking is not None:
            self.tracking.start()
        child = start_verl(TRAINER, path, environment, self._on_line)
        code = 1
        try:
            code = self._watch(child)
        finally:
            child.stop()
            if self.tracking is not None:
                self.tracking.stop(succeeded=code == 0)
        cause = self._cause(code, child)
        self._finish_uploads(cause)
        if cause is not None:
            raise cause
        if not self.checkpoints.committed:
            raise TrainingFailed("verl ended well and wrote no checkpoint that is fit to be published: see its log")

    def _watch(self, child: Child) -> int:
        """Waits for the end; stops early on SIGTERM, when uploads fail for good, or when a node was lost."""
        watch = Stranding(self.nodes)
        while child.poll() is None:
            if self.stopping.wait(POLL_SECONDS):
                threading.Thread(target=child.stop, daemon=True).start()
                finished = self.sync.finish(max(0.0, self.config.grace_seconds - CLOSING_SECONDS))
                raise Terminated(
                    "the pod was asked to stop; the last complete checkpoint "
                    + ("is committed" if finished else "was still being uploaded")
                )
            if self.sync.error is not None:
                raise self.sync.error
            self.stranded = watch.look()
            if self.collapsed.is_set() or self.stranded is not None or self._waits_for_killed():
                child.stop()
                break
        return child.wait()

    def _waits_for_killed(self) -> bool:
        """Whether Ray has ended a worker for memory and verl has not ended by it: it would wait until `stallAfter`."""
        return self._killed_at is not None and time.monotonic() - self._killed_at > KILLED_GRACE_SECONDS

    def _cause(self, code: int, child: Child) -> FlywheelError | None:
        """Why verl ended early, if it did."""
        if self.stranded is not None:
            return self.stranded
        if self._refused is not None:
            return ValidationFailure(self._refused.message, self._refused.reason)
        if code == 0 or self.collapsed.is_set():
            return None
        return diagnose(code, list(child.lines), trained=bool(self.history.curve.points))

    def _finish_uploads(self, cause: FlywheelError | None) -> None:
        """Stores what is left. A store that does not take it is why the attempt failed only where nothing else is."""
        self._text("uploading the last checkpoint")
        self.sync.finish()
        error = self.sync.error
        if error is None:
            return
        if cause is None or not isinstance(error, StoreProblem):
            raise error
        log.error("the last checkpoint is lost with this pod", error=str(error), cause=str(cause))

    def _on_line(self, line: str) -> None:
        for said in signals.parse(line, self.mark):
            self._on_signal(said)
        if self._killed_at is None and KILLED.match(line):
            self._killed_at = time.monotonic()
        if self._startup and self._startup[0][0] in line:
            self._text(self._startup.pop(0)[1])

    def _on_signal(self, said: signals.Signal) -> None:
        match said:
            case signals.Planned():
                self.total, self.dropped_prompts = said.steps, said.prompts - said.kept
                self.attempt.update(total=said.steps)
                log.info("data read", prompts=said.prompts, too_long=self.dropped_prompts, steps=said.steps)
            case signals.Refused():
                self._refused = said
            case signals.Saved():
                self.sync.saved(said)
            case signals.Groups():
                self._groups = said
            case signals.Stalled():
                log.warning("training waited for uploads", step=said.step, seconds=said.seconds)
            case signals.Stepped():
                self.trail.numbers(said.step, said.numbers)
                if self.tracking is not None:
                    self.tracking.numbers(said.step, said.numbers)
                point = point_of(said.step, said.numbers)
                if point is not None:
                    self.sync.stepped(self._with_groups(point))
                    self._groups = None

    def _with_groups(self, point: CurvePoint) -> CurvePoint:
        """The point with what the advantage estimator said of the step's groups, a line before."""
        said = self._groups
        if said is None:
            return point
        more = CurvePoint(
            step=point.step,
            groups=said.groups,
            zero_variance_groups=said.zero_variance,
            form_only_groups=said.form_only,
            reward_spread=said.spread,
        )
        return joined(point, more)

    def _show(self, point: CurvePoint) -> None:
        """A step on the progress record."""
        step, reward = point.step, point.reward
        pace = self.history.curve.seconds_per_step()
        text = f"step {step} of {self.total}" + ("" if reward is None else f", reward {reward:.3f}")
        doubt = nothing_right(self.history.curve.upto(step), self.spec.reward.type)
        if doubt:
            log.warning(doubt, step=step)
            text += f"; {doubt}"
        self._look(step)
        self.trail.step(point, self.history.rollouts.get(step))
        self.page.refresh(self.history.curve.upto(step))
        self.attempt.update(
            done=step,
            step=step,
            reward=reward,
            unhealthy=self.unhealthy,
            tokens_per_second=point.tokens_per_second,
            eta_seconds=None if pace is None else max(0.0, (self.total - step) * pace),
            text=text,
        )

    def _look(self, step: int) -> None:
        """The collapse guard, after every step."""
        seen = suspicion(self.history.curve.upto(step))
        if seen is None:
            return
        log.warning("the training looks like a collapse", step=step, seen=seen)
        self.unhealthy = f"step {step}: {seen}"
        if self.spec.on_collapse is OnCollapse.STOP:
            self.collapsed.set()

    def _text(self, text: str) -> None:
        log.info(text)
        self.attempt.update(text=text)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()

    # ---- manifests ------------------------------------------------------------------------------------------------
    def _manifest(
        self,
        result: Result,
        files: list[FileEntry],
        counts: Counts | None = None,
        metrics: dict[str, float] | None = None,
    ) -> Manifest:
        """A manifest of this attempt."""
        standin = self.inputs.standin
        read = dict(self.inputs.digests)
        if self.config.model.startswith("sha256:"):
            read["model"] = self.config.model
        return Manifest(
            owner=self.config.owner,
            stage=TRAIN_STAGE,
            attempt=self.config.attempt,
            content_key=self.config.content_key,
            made_of=self.config.made_of,
            inputs=read,
            files=files,
            counts=counts or Counts(),
            usage=Usage(seconds=round(time.monotonic() - self.started, 1)),
            metrics=metrics or {},
            result=result,
            standin=standin,
            notice=STANDIN_NOTICE if standin else None,
            code_version=code_version(),
            image=os.environ.get(IMAGE_ENV, ""),
            created_at=now(),
        )

    def _publish(self) -> str:
        """Merges the checkpoint to be published and commits the final manifest, with the whole curve."""
        newest = self.checkpoints.last()
        assert newest is not None
        curve = self.history.curve.upto(max(self.total, newest.state.step)) or newest.state.curve
        by_score = self.spec.publishes_best(stopped=self.collapsed.is_set())
        last = self.checkpoints.best(suspect_from(curve)) if by_score else newest
        assert last is not None
        step = last.state.step
        self._text("merging the shards into a model")
        local = self.workspace.checkpoints / f"global_step_{step}"
        actor = publish.actor_folder(self.store, last.manifest, local, self.workspace.root / "last")
        publish.merge(actor, self.workspace.merged, self.workspace.model, rollout_dtype(self.spec))
        self._text("uploading the model")
        files = publish.model_files(self.store, self.workspace.merged)
        result = TrainingResult(
            step=step,
            trained_steps=curve[-1].step if curve else newest.state.step,
            unhealthy=self.unhealthy,
            stopped=self.collapsed.is_set(),
            total_steps=self.total,
            algorithm=self.spec.algorithm.type.value,
            resumed_from_step=self.history.resumed_from,
            curve=curve,
            training_state=last.manifest.digest,
            warm_up=self.warmed,
            rollouts=self._rollouts_dataset(newest),
        )
        counts = publish.counts(curve, self.dropped_prompts)
        digest = self.attempt.commit(self._manifest(result, files, counts, publish.outcome(curve)))
        self.checkpoints.apply_retention(step)
        after = f", stopped after {result.trained_steps}" if result.stopped else ""
        self._text(f"committed step {step} of {self.total}{after}")
        return digest

    def _rollouts_dataset(self, last: Checkpoint) -> str | None:
        """The digest of the dataset of all recorded trajectories."""
        files = last.rollouts
        if not files:
            return None
        n, lost = sum(f.records or 0 for f in files), sum(p.unreadable or 0 for p in last.state.curve)
        counts = Counts(in_=n + lost, out=n, dropped=[Dropped(reason="unreadable", count=lost)] if lost else [])
        return self.store.put_manifest(self._manifest(RolloutsResult(step=last.state.step), files, counts))
