"""Pods of a training get the time of their last checkpoint, and stay only while something of it is on its way."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.capacity.memory import checkpoint
from flywheel_api.capacity.shape import official
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_operator.model import Act, Action, Meta, RLJobSeen
from flywheel_operator.render.rayjob import grace_seconds, ray_job
from flywheel_operator.settings import OperatorConfig
from golden import DATA

META = Meta("job", "team", "uid-1", 1)
BYTES = checkpoint(official("hf://Qwen/Qwen3-8B") or pytest.fail("the shape of a model that everybody knows"))


def spec(**fields: Any) -> RLJobSpec:
    return RLJobSpec.model_validate(
        {"model": "hf://Qwen/Qwen3-8B", "data": {"train": [DATA]}, "reward": {"type": "Math"}} | fields
    )


@pytest.mark.parametrize(("nodes", "floor", "seconds"), [(1, "100Mi", 1000), (2, "100Mi", 530), (1, "1Gi", 152)])
def test_the_last_upload_fits(nodes: int, floor: str, seconds: int) -> None:
    config = OperatorConfig.model_validate({"uploadFloor": floor})
    found = grace_seconds(config, spec(nodes=nodes), RLJobSeen(checkpoint_bytes=BYTES))
    assert found == pytest.approx(seconds, rel=0.01)


def test_a_model_of_unknown_size_gets_what_the_chart_says() -> None:
    assert grace_seconds(OperatorConfig(), spec(), RLJobSeen()) == 600


def test_head_and_workers_get_it_and_the_driver_knows() -> None:
    seen = RLJobSeen(model="hf://Qwen/Qwen3-8B", checkpoint_bytes=BYTES)
    body = ray_job(OperatorConfig(), META, spec(), RLJobStatus(), seen, Action(Act.CREATE, "RayJob", "r", "Train", 1))
    cluster = body["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == grace_seconds(OperatorConfig(), spec(), seen) > 900
        (main,) = pod["containers"]
        assert main["lifecycle"]["preStop"]["exec"]["command"][-1] == "flywheel_jobs.trainer.linger"
        assert {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": "0"} in main["env"]
        assert '"graceSeconds":99' in next(e["value"] for e in main["env"] if e["name"] == "FLYWHEEL_TRAIN_CONFIG")
