"""What the operator makes of the examples is what the golden files say."""

from __future__ import annotations

import pytest
import yaml

from golden import FOLDER, pods, rendered, text_of

RENDERED = rendered()


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_examples_equal_their_golden_files(name: str) -> None:
    golden = (FOLDER / f"{name}.yaml").read_text()
    assert golden == text_of(RENDERED[name]), "look at the difference, then write them with `python -m golden`"


def test_the_papers_rounds_ask_for_the_papers_gpus() -> None:
    for name, gpus in (("round-8b", 8), ("round-30b-a3b", 16)):
        for job in (body for body in RENDERED[name] if body["kind"] == "RayJob"):
            group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
            each = group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
            assert group["replicas"] * int(each) == gpus


def test_no_pod_gets_a_token_or_a_secret_by_value() -> None:
    for name, objects in RENDERED.items():
        for pod in pods(objects):
            assert pod["spec"]["automountServiceAccountToken"] is False, name
            for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                for env in container["env"]:
                    if "KEY" in env["name"]:
                        assert "secretKeyRef" in env.get("valueFrom", {}), env["name"]


def test_golden_files_are_yaml_that_kubernetes_reads_alike() -> None:
    for name, objects in RENDERED.items():
        assert list(yaml.load_all((FOLDER / f"{name}.yaml").read_text(), yaml.CSafeLoader)) == objects
