"""`CLUSTER=kind`: the demo in a kind cluster of its own, for people who have Docker.

The command lines are tested; there was no Docker where this was written, so the whole of it has not been run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from builder.oci import Image, Layout, write_archive
from cluster import addons
from cluster.images import binary_layout
from cluster.kube import Kubectl
from cluster.steps import Steps
from demo import needs, setup
from demo.settings import IMAGES, Settings
from demo.shell import stream

NAME = "flywheel"
TOOLS = {"docker": "install Docker 25 or newer", "kind": "install kind (kind.sigs.k8s.io)", **setup.TOOLS}
BUILD = {"IMAGE_BUILDER": "docker", "BASE_IMAGE": "docker.io/library/debian:bookworm-slim"}


def up(settings: Settings, steps: Steps) -> tuple[Kubectl, Mapping[str, str]]:
    """A kind cluster with KubeRay, MinIO and Flywheel, and the references of its images."""
    with steps.step("what the machine has"):
        needs.check((*(partial(needs.tool, name, how) for name, how in TOOLS.items()), *needs.BUILDS))
    with steps.step("images (the first time about 5 minutes)"):
        built = setup.build_images(settings, BUILD)
    with steps.step("the kind cluster"):
        kube = setup.kubectl_of(settings)
        stream(cluster_command(kube.kubeconfig), settings.logs / "cluster.log", advice=setup.AGAIN)
    with steps.step("images, KubeRay and MinIO (the first time built from Go modules, about 4 minutes)"):
        for name in IMAGES:
            load(settings, Layout(Path(built[name]["oci"])).image(), built[name]["ref"])
        addons.install(kube, lambda name: load(settings, binary_layout(name).image(), name), print)
    refs = {name: built[name]["ref"] for name in IMAGES}
    setup.flywheel(kube, settings, steps, refs, needs.tool("helm", TOOLS["helm"]))
    return kube, refs


def cluster_command(kubeconfig: Path) -> list[str]:
    """Makes the cluster, or writes the kubeconfig of the one that is there."""
    there = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()
    do = ["export", "kubeconfig"] if NAME in there else ["create", "cluster", "--wait", "180s"]
    return ["kind", *do, "--name", NAME, "--kubeconfig", str(kubeconfig)]


def load(settings: Settings, image: Image, name: str) -> None:
    """Put an image into the cluster's only node, unless it is there."""
    look = ["docker", "exec", f"{NAME}-control-plane", "crictl", "inspecti", "-q", name]
    if subprocess.run(look, capture_output=True, check=False).returncode:
        archive = settings.folder / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
        with archive.open("wb") as out:
            write_archive(image, name, out)
        stream(["kind", "load", "image-archive", archive, "--name", NAME], settings.logs / "load.log")
        archive.unlink()
