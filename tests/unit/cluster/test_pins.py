"""Versions come from go.mod, and whatever decides a binary changes its cache key."""

import shutil
from pathlib import Path

import pytest

from cluster import build, pins
from cluster.errors import ClusterError
from cluster.paths import GO_MODULES


def test_every_module_pins_a_version_and_every_binary_has_a_module() -> None:
    for module in pins.MODULES.values():
        version = pins.pinned_version(module, (GO_MODULES / module.name / "go.mod").read_text())
        assert version.startswith("v") or not module.pinned
    assert {b.module for b in pins.BINARIES.values()} == set(pins.MODULES)
    assert set(pins.GROUPS["apiserver"]) == {"etcd", "kube-apiserver", "kubectl"}
    assert set(pins.GROUPS["node"]) | set(pins.GROUPS["helm"]) | {"versitygw"} == set(pins.BINARIES)


def test_the_version_reaches_the_linker() -> None:
    flags = pins.ldflags(pins.MODULES["k8s"], "require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "gitMajor=1 " in flags and "gitMinor=36 " in flags
    assert pins.ldflags(pins.MODULES["runc"], "\tgithub.com/opencontainers/runc v1.3.4\n").endswith(
        "main.version=1.3.4"
    )


def test_a_go_mod_without_its_pin_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"does not require go\.etcd\.io/etcd/server/v3"):
        pins.pinned_version(pins.MODULES["etcd"], "module x\n\nrequire go.etcd.io/etcd/server/v35 v3.6.0\n")


@pytest.mark.parametrize("changed", ["go.mod", "go.sum"])
def test_the_cache_key_follows_the_module_files(tmp_path: Path, changed: str) -> None:
    folder = tmp_path / "etcd"
    shutil.copytree(GO_MODULES / "etcd", folder)
    before = pins.cache_key(pins.MODULES["etcd"], folder)
    assert before == pins.cache_key(pins.MODULES["etcd"], GO_MODULES / "etcd")
    with (folder / changed).open("a") as file:
        file.write("\n// changed\n")
    assert pins.cache_key(pins.MODULES["etcd"], folder) != before


def test_the_cache_key_follows_flags_and_own_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pause"
    shutil.copytree(GO_MODULES / "pause", folder)
    keys = {pins.cache_key(pins.MODULES["pause"], folder)}
    (folder / "main.go").write_text("package main\n\nfunc main() {}\n")
    keys.add(pins.cache_key(pins.MODULES["pause"], folder))
    monkeypatch.setattr(pins, "GOFLAGS", "-buildvcs=false")
    keys.add(pins.cache_key(pins.MODULES["pause"], folder))
    assert len(keys) == 3


def test_build_command_is_read_only_and_tagged(tmp_path: Path) -> None:
    command = build.build_command(pins.BINARIES["runc"], "\tgithub.com/opencontainers/runc v1.3.4\n", tmp_path / "o")
    assert command[:3] == ["go", "build", "-mod=readonly"]
    assert command[command.index("-tags") + 1] == "seccomp"
    assert command[-1] == "github.com/opencontainers/runc"
    assert build.go_env(True)["CGO_ENABLED"] == "1" and build.go_env(False)["CGO_ENABLED"] == "0"


def test_an_unknown_group_names_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="use one of apiserver, node, helm"):
        build.build_group("nodes")


def test_what_is_built_is_found_and_what_is_not_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CACHE", str(tmp_path))
    assert build.missing(["pause"]) == ["pause"]
    partial = pins.binary_path("pause").with_name(".pause.partial")
    partial.parent.mkdir(parents=True)
    partial.touch()
    assert build.missing(["pause"]) == ["pause"]  # an interrupted build counts as none
    partial.rename(pins.binary_path("pause"))
    assert build.missing(["pause"]) == []
