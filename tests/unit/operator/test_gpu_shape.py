"""The GPU shape on CPUs is made by the renderer of the GPU manifests: what differs is data, in a file."""

from __future__ import annotations

import json
import re

from e2e import shape
from golden import gpu_shape

DATA_ONLY = re.compile(
    r"\.(image|env\.(FLYWHEEL_IMAGE|OMP_\w+|MALLOC_\w+|RAY_\w+)\.value)$"
    r"|\.resources\.(requests|limits)\.(cpu|memory)$|\.emptyDir\.sizeLimit$|\.rayStartParams\.[\w-]+$"
    r"|\.FLYWHEEL_TRAIN_CONFIG\.value\.spec\.overrides\.[\w.]+$"
)
"""Image, sizes, arguments of ray start, threads, and what verl is told of the device."""


def test_what_differs_is_data() -> None:
    lines = gpu_shape.differences()
    print("\n".join(lines))
    assert not [line for line in lines if not DATA_ONLY.search(line.partition(": ")[0])]
    assert lines == gpu_shape.FILE.read_text().splitlines(), "look at the difference, then write it: python -m golden"


def test_the_shape_is_the_gpu_flavours() -> None:
    cluster = gpu_shape.rendered(gpu_shape.values())["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    head, worker = (group["template"]["spec"] for group in (cluster["headGroupSpec"], workers))
    assert workers["replicas"] == workers["minReplicas"] == shape.NODES, (
        "KubeRay asks for all of them at once; that they start together is a queue's or scheduler's matter"
    )
    assert "nvidia.com/gpu" not in json.dumps(head), "the head trains nothing"
    sizes = worker["containers"][0]["resources"]
    assert sizes["requests"]["nvidia.com/gpu"] == sizes["limits"]["nvidia.com/gpu"] == "1"
    assert "num-gpus" not in workers["rayStartParams"], "KubeRay makes Ray's GPUs of the pod's"


def test_every_node_that_storage_is_pinned_to_has_cpus() -> None:
    """TransferQueue goes over all nodes that live, the head as well, and one without a CPU is infeasible."""
    for over in gpu_shape.both():
        head = gpu_shape.rendered(over)["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert int(head["rayStartParams"]["num-cpus"]) >= 8
