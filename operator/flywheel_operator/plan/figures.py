"""What an RLJob's status shows of its training: step, reward, pace, the last checkpoint, in figures and in words."""

from __future__ import annotations

from flywheel_api.artifacts import Progress
from flywheel_api.rljob_status import CheckpointStatus, RLJobStatus
from flywheel_operator.plan import texts

Changes = dict[str, object]


def figures(status: RLJobStatus, progress: Progress | None) -> Changes:
    """Taken over only when the step moved, so that estimates do not flap; between steps what the trainer does."""
    if progress is None:
        return {"progress": "the trainer is starting"}
    changes: Changes = {}
    if progress.checkpoint_step is not None and progress.checkpoint_digest is not None:
        changes["checkpoint"] = CheckpointStatus(step=progress.checkpoint_step, digest=progress.checkpoint_digest)
    if progress.step is None:
        return changes | {"progress": progress.text or "the trainer is starting"}
    if progress.step == status.step and status.running_since is not None:
        doing = "" if progress.text.startswith("step ") else progress.text  # such as: uploading the last checkpoint
        return changes | ({"progress": doing} if doing else {})
    return changes | {
        "step": progress.step,
        "total_steps": progress.total,
        "reward": texts.number(progress.reward) if progress.reward is not None else status.reward,
        "tokens_per_second": texts.number(progress.tokens_per_second) if progress.tokens_per_second else None,
        "eta": texts.eta(progress.eta_seconds),
        "progress": texts.training(progress),
    }


def committed_step(status: RLJobStatus, progress: Progress | None) -> int:
    """The newest step that is known to be in the store; 0 when there is none."""
    known = [
        status.checkpoint.step if status.checkpoint else None,
        status.reused_from.step if status.reused_from else None,
        progress.checkpoint_step if progress else None,
    ]
    return max(step or 0 for step in known)
