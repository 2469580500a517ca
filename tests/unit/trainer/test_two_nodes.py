"""Checkpoints where ranks are on several nodes: who holds what, before and after an attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flywheel_api.causes import Cause
from flywheel_api.ends import End
from flywheel_api.results import CurvePoint
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import signals
from flywheel_jobs.trainer.checkpoints import TRACKER
from flywheel_jobs.trainer.nodes import NodeLost, Nodes, Share
from flywheel_store.memory import MemoryBucket
from unit.trainer.checkpoint_run import Run


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: made))
    return made


class Two(Nodes):
    """A head that trains nothing and two nodes of one rank, on folders beside each other."""

    def __init__(self, root: Path) -> None:
        super().__init__(spread=False)
        self.roots = {root / "head": None, root / "n0": 0, root / "n1": 1}

    def each_own(self, work: Any, arguments: Any) -> list[Any]:
        found = []
        for root, number in self.roots.items():
            told = arguments(Share(number, 2))
            here = [
                type(a)(str(a).replace("/ckpt", f"/{root.name}/ckpt")) if isinstance(a, (str, Path)) else a
                for a in told
            ]
            found.append(work(*here))
        return found

    def lie(self) -> dict[str, set[str]]:
        """Shards by folder of a node."""
        return {r.name: {p.relative_to(r / "ckpt").as_posix() for p in r.rglob("*.pt")} for r in self.roots}


def test_nodes_resume_with_their_own_shards_and_keep_no_old_checkpoint(store: Any, tmp_path: Path) -> None:
    """Training and uploads go on for days: a node that kept every checkpoint would be evicted."""
    run = Run(store, tmp_path, keep_last=2, keep_best=0)
    nodes = run.checkpoints.nodes = run.sync._nodes = Two(tmp_path)
    for step in (1, 2, 3):
        for number in (0, 1):
            for kind in ("model", "optim"):
                path = tmp_path / f"n{number}/ckpt/global_step_{step}/actor/{kind}_world_size_2_rank_{number}.pt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{kind} {number} {step}".encode())
        runner = tmp_path / f"n0/ckpt/global_step_{step}/data.pt"  # of verl's task runner, wherever it is
        runner.write_bytes(b"loader")
        run.sync.saved(signals.Saved(step=step))
        run.sync.stepped(CurvePoint(step=step, reward=0.0, seconds=1.0))
    run.end()
    left = {path.split("/")[0] for lying in nodes.lie().values() for path in lying}
    assert left == {"global_step_3"}, "what is committed lies in the store"
    assert all((r / "ckpt/global_step_3/.committed").exists() for r in list(nodes.roots)[1:]), "nobody waits for it"

    fresh = Run(store, tmp_path / "again", keep_last=2, keep_best=0)
    after = fresh.checkpoints.nodes = Two(tmp_path / "again")
    assert fresh.checkpoints.restore().resumed_from == 3
    own = {n: {f"global_step_3/actor/{k}_world_size_2_rank_{n}.pt" for k in ("model", "optim")} for n in (0, 1)}
    loader = {"global_step_3/data.pt"}
    assert after.lie() == {"head": loader, "n0": own[0] | loader, "n1": own[1] | loader}
    assert all((r / "ckpt" / TRACKER).read_text() == "3" for r in after.roots), "whoever resumes finds the step"


def test_a_checkpoint_whose_ranks_are_not_all_there_is_not_committed(store: Any, tmp_path: Path) -> None:
    """A node that is lost between verl's save and the upload is replaced by an empty one: none resumes from a half."""
    run = Run(store, tmp_path, keep_last=2, keep_best=0)
    run.checkpoints.nodes = run.sync._nodes = Two(tmp_path)
    for number in (0, 1):
        path = tmp_path / f"n{number}/ckpt/global_step_1/actor/model_world_size_2_rank_{number}.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"shard")
    (tmp_path / "n1/ckpt/global_step_1/actor/model_world_size_2_rank_1.pt").unlink()
    with pytest.raises(NodeLost, match="step 1 has no shards of rank 1") as error:
        run.checkpoints.upload(1, "uid")
    assert (error.value.cause, error.value.reason) == (Cause.INFRA, End.NODE_LOST)
