"""CLUSTER=kind: what it needs, and its command lines (there is no Docker in the tests)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder import oci
from cluster import addons
from cluster.images import KUBERAY_IMAGE, MINIO_IMAGE
from cluster.steps import Steps
from demo import kind, needs, setup
from demo.errors import DemoError
from demo.settings import IMAGES, Cluster, Settings, from_environment


class Commands:
    """Stands for subprocess.run and demo.shell.stream: notes command lines; those with a word of `fail` fail."""

    def __init__(self, clusters: str = "", fail: tuple[str, ...] = ()) -> None:
        self.clusters, self.fail, self.seen = clusters, fail, []

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        words = [str(c) for c in command]
        self.seen.append(" ".join(words))
        return subprocess.CompletedProcess(command, int(bool(set(self.fail) & set(words))), stdout=self.clusters)

    def stream(self, command: list[str], *_: object, **__: object) -> None:
        self.run(command)


def commands(monkeypatch: pytest.MonkeyPatch, clusters: str = "", fail: tuple[str, ...] = ()) -> Commands:
    made = Commands(clusters, fail)
    monkeypatch.setattr(subprocess, "run", made.run)
    monkeypatch.setattr(kind, "stream", made.stream)
    return made


def layout(folder: Path) -> oci.Layout:
    (folder / "tool").write_bytes(b"x")
    return oci.binary_image(folder / "image", folder / "tool", "/tool")


def test_every_missing_program_has_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs, "BUILDS", ())
    with pytest.raises(DemoError) as error:
        kind.up(Settings(Cluster.KIND, tmp_path / "k"), Steps(6))
    lines = [line for line in str(error.value).splitlines() if line.startswith("  - ")]
    assert [line.split()[1] for line in lines] == ["docker", "kind", "kubectl", "helm"]
    assert all("is not on the PATH: install" in line for line in lines)


def test_the_cluster_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    commands(monkeypatch, clusters="other\n")
    made = "kind create cluster --wait 180s --name flywheel --kubeconfig /k"
    assert " ".join(kind.cluster_command(Path("/k"))) == made
    commands(monkeypatch, clusters="other\nflywheel\n")
    assert " ".join(kind.cluster_command(Path("/k"))) == "kind export kubeconfig --name flywheel --kubeconfig /k"


def test_an_image_is_loaded_unless_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, image = Settings(Cluster.KIND, folder=tmp_path), layout(tmp_path).image()
    there = commands(monkeypatch)
    kind.load(settings, image, "localhost/flywheel/jobs:1")
    assert there.seen == ["docker exec flywheel-control-plane crictl inspecti -q localhost/flywheel/jobs:1"]
    absent = commands(monkeypatch, fail=("crictl",))
    kind.load(settings, image, "localhost/flywheel/jobs:1")
    archive = tmp_path / "jobs-1.tar"
    assert absent.seen[-1] == f"kind load image-archive {archive} --name flywheel"
    assert not archive.exists()


def test_everything_is_set_up_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images, the cluster, images into it with KubeRay's and MinIO's, then as on the local cluster."""
    made = layout(tmp_path)
    seen = commands(monkeypatch, fail=("crictl",))
    built = {name: {"oci": str(made.folder), "ref": f"localhost/flywheel/{name}:1"} for name in IMAGES}
    installed: list[object] = []
    monkeypatch.setattr(needs, "check", lambda _: None)
    monkeypatch.setattr(needs, "tool", lambda name, _: Path(f"/bin/{name}"))
    monkeypatch.setattr(setup, "build_images", lambda _, defaults: seen.seen.append(str(defaults)) or built)
    monkeypatch.setattr(kind, "binary_layout", lambda _: made)
    monkeypatch.setattr(addons, "install", lambda _, load, __: [load(n) for n in (KUBERAY_IMAGE, MINIO_IMAGE)])
    monkeypatch.setattr(setup, "flywheel", lambda *arguments: installed.extend(arguments))
    settings = Settings(Cluster.KIND, tmp_path / "kind.kubeconfig", folder=tmp_path)
    kube, refs = kind.up(settings, Steps(6))
    said = [line for line in seen.seen if "inspecti" not in line]
    assert said[0] == str({"IMAGE_BUILDER": "docker", "BASE_IMAGE": "docker.io/library/debian:bookworm-slim"})
    assert said[2].startswith("kind create cluster") and str(settings.kubeconfig) in said[2]
    names = [Path(line.split()[3]).name for line in said[3:]]
    assert names == [*(f"{name}-1.tar" for name in IMAGES), "operator-v1.6.2.tar", "minio-1.tar"]
    assert kube.kubeconfig == settings.kubeconfig
    assert installed[0] is kube and installed[3:] == [refs, Path("/bin/helm")]


def test_it_is_chosen_by_the_environment() -> None:
    settings = from_environment({"CLUSTER": "kind"})
    assert settings.cluster is Cluster.KIND and settings.kubeconfig == settings.folder / "kind.kubeconfig"
    assert not settings.existing and from_environment({"CLUSTER": ""}).cluster is Cluster.LOCAL
