"""Benchmark: warm start of the local cluster with KubeRay, MinIO and our operator: `python -m perf.cluster`.

It takes the running cluster down first, with everything in it, so it is no part of `make bench`.
"""

from __future__ import annotations

import json
import sys

from cluster import node
from cluster.paths import cache_dir
from cluster.pins import binary_path
from cluster.services import status
from cluster.steps import Steps
from demo import setup
from demo.settings import from_environment
from demo.shell import module, stream
from perf import live
from perf.machine import record


def main() -> None:
    """Down, then up to an Available operator, then memory after it has settled."""
    settings = from_environment()
    listing = cache_dir() / "images" / "images.json"
    if not listing.exists():
        sys.exit("no images in the cache: run `make images` first")
    images = {name: entry["ref"] for name, entry in json.loads(listing.read_text()).items()}
    stream(module("cluster", "up"), settings.logs / "perf.log")
    for entry in json.loads(listing.read_text()).values():  # as a warm node has them
        stream(module("cluster", "load", entry["oci"], entry["ref"]), settings.logs / "perf.log")
    node.down()
    steps = Steps(4)
    with steps.step("node"):
        stream(module("cluster", "up"), settings.logs / "perf.log")
    kube = node.kubectl()
    with steps.step("KubeRay and MinIO"):
        stream(module("cluster", "addons"), settings.logs / "perf.log")
    with steps.step("chart"):
        setup.install_chart(kube, settings, images, binary_path("helm"), settings.chart / "values-local.yaml")
    with steps.step("operator Available"):
        setup.wait_for_operator(kube)
    pods = {"KubeRay": live.KUBERAY, "MinIO": live.MINIO, "Flywheel": live.OPERATOR}
    processes = status()["memoryMB"] | {name: live.memory_mb(program) for name, program in pods.items()}
    record(
        "cluster_warm_start",
        {
            "what": "seconds from nothing running to KubeRay, MinIO and our operator Ready, images in the node's store",
            "steps_s": steps.seconds,
            "total_s": round(sum(steps.seconds.values()), 1),
            "target_s": 45,
            "control_plane_mb": round(sum(processes.values()), 1),
            "target_control_plane_mb": 1500,
            "processes_mb": processes,
        },
    )


if __name__ == "__main__":
    main()
