"""Configuration of the node: the settings without which it does not work, and nothing outside its own folders."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cluster.components import cni_config, commands, containerd_config, kubelet_config, proxy_config, write_configs
from cluster.errors import ClusterError
from cluster.layout import Layout
from cluster.layout import layout as cache_layout
from cluster.node import binaries
from cluster.pki import Pki


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("FLYWHEEL_CACHE", str(tmp_path))
    return Layout(tmp_path / "cluster")


def test_containerd_config_is_toml_with_what_the_node_needs(at: Layout) -> None:
    config = tomllib.loads(containerd_config(at, binaries()))
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert config["version"] == 3
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False
    assert config["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "localhost/pause:1"
    assert config["root"] == str(at.containerd)


@pytest.mark.parametrize(("version", "expected"), [(1, False), (2, None)])
def test_kubelet_is_told_to_accept_cgroup_v1_only_there(at: Layout, version: int, expected: bool | None) -> None:
    config = kubelet_config(at, Pki(at.pki), version)
    assert config.get("failCgroupV1") is expected
    assert config["authentication"]["anonymous"]["enabled"] is False
    assert config["imageGCHighThresholdPercent"] == 100


def test_pods_get_no_way_out() -> None:
    bridge = cni_config()["plugins"][0]
    assert bridge["isDefaultGateway"] is False and bridge["ipMasq"] is False
    assert [r["dst"] for r in bridge["ipam"]["routes"]] == ["10.88.0.0/16", "10.96.0.0/12"]


def test_the_machines_conntrack_limits_stay() -> None:
    conntrack = proxy_config(Layout(Path("/x")))["conntrack"]
    assert conntrack["maxPerCore"] == 0 and conntrack["min"] == 0


def test_nothing_is_written_outside_the_state_folder(at: Layout, tmp_path: Path) -> None:
    at.run.mkdir(parents=True)
    pki = Pki(at.pki)
    write_configs(at, pki, binaries(), 1)
    texts = [f.read_text() for f in at.run.rglob("*") if f.is_file()]
    texts += [" ".join(argv) for _, argv in commands(at, pki, binaries()).values()]
    paths = {p for text in texts for p in re.findall(r"(?<![\w.:/])/[a-z][\w.-]*/[\w./-]+", text)}
    outside = {p for p in paths if not p.startswith((str(tmp_path), "/run/"))}
    assert outside == set()
    json.loads((at.run / "kubelet.json").read_text())


def test_components_start_in_two_stages(at: Layout) -> None:
    stages = {name: stage for name, (stage, _) in commands(at, Pki(at.pki), binaries()).items()}
    assert {n for n, s in stages.items() if s == 0} == {"etcd", "containerd", "kube-apiserver"}
    assert set(stages.values()) == {0, 1}


@pytest.mark.parametrize(("cache", "message"), [("/" + "x" * 80, "longer than 60"), ("/run/flywheel", "hidden inside")])
def test_a_cache_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch, cache: str, message: str) -> None:
    monkeypatch.setenv("FLYWHEEL_CACHE", cache)
    with pytest.raises(ClusterError, match=message):
        cache_layout()


def test_two_caches_have_two_cgroups() -> None:
    assert Layout(Path("/a")).cgroup_name != Layout(Path("/b")).cgroup_name
