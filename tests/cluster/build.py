"""Builds the pinned binaries with the ordinary Go toolchain into the cache; what is there already is skipped.

A binary appears under its final name only when its build is complete (rename), so an interrupted build is simply
gone on with; the Go build cache keeps the finished packages. A lock lets only one build run per cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import needs
from cluster.errors import ClusterError
from cluster.paths import GO_MODULES, bin_root
from cluster.pins import BINARIES, BUILD_ARGS, GOFLAGS, GROUPS, MODULES, Binary, binary_path, ldflags, pinned_version


def missing(names: Sequence[str]) -> list[str]:
    """Those of the named binaries that are not built for the present pins."""
    return [name for name in names if not binary_path(name).exists()]


@contextmanager
def _build_lock() -> Iterator[None]:
    bin_root().mkdir(parents=True, exist_ok=True)
    with (bin_root() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another build is running in this cache; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_env(cgo: bool) -> dict[str, str]:
    """Environment of every go command here: our flags only, no workspace, CGO as asked."""
    return dict(os.environ, GOFLAGS=GOFLAGS, GOWORK="off", CGO_ENABLED="1" if cgo else "0")


def build_command(binary: Binary, go_mod: str, output: Path) -> list[str]:
    """The `go build` command of a binary, to be run in its module's folder."""
    command = ["go", "build", *BUILD_ARGS, "-ldflags", ldflags(MODULES[binary.module], go_mod)]
    if binary.tags:
        command += ["-tags", binary.tags]
    return [*command, "-o", str(output), binary.package]


def _build_one(binary: Binary) -> None:
    folder = GO_MODULES / binary.module
    final = binary_path(binary.name)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.partial")
    command = build_command(binary, (folder / "go.mod").read_text(), partial)
    done = subprocess.run(command, cwd=folder, env=go_env(binary.cgo), check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        partial.unlink(missing_ok=True)
        raise ClusterError(
            f"building {binary.name} failed (status {done.returncode}); the command was, in {folder}:\n"
            f"  {' '.join(command)}\n{done.stderr[-3000:]}"
        )
    os.replace(partial, final)


def build(names: Sequence[str], group: str = "node") -> None:
    """Build what is missing of the named binaries, with a line of progress each. Raises ClusterError."""
    if not missing(names):
        return
    needs.for_build(group)
    with _build_lock():
        todo = missing(names)
        if todo:
            needs.check_disk(group)
        for index, name in enumerate(todo, 1):
            binary = BINARIES[name]
            module = MODULES[binary.module]
            version = pinned_version(module, (GO_MODULES / binary.module / "go.mod").read_text())
            rest = sum(BINARIES[n].seconds for n in todo[index - 1 :])
            print(
                f"[{index}/{len(todo)}] building {name} {version} "
                f"(about {binary.seconds} s cold on 2 cores; {rest} s to go)".replace("  ", " "),
                flush=True,
            )
            start = time.monotonic()
            _build_one(binary)
            size = binary_path(name).stat().st_size / 1e6
            print(f"      done in {time.monotonic() - start:.0f} s, {size:.0f} MB", flush=True)


def build_group(group: str) -> None:
    """Build a group of GROUPS (apiserver, node, helm), or a single binary by its name."""
    if group not in GROUPS and group not in BINARIES:
        raise ClusterError(f"there is nothing named '{group}'; use one of {', '.join([*GROUPS, *BINARIES])}.")
    if group in GROUPS:
        build(GROUPS[group], group)
    else:
        ensure(group)


def ensure(*names: str) -> dict[str, Path]:
    """Paths of the named binaries, built first where needed."""
    build(names, "node" if "runc" in names else "apiserver")
    return {name: binary_path(name) for name in names}


def module_source(module_name: str) -> Path:
    """Folder of the pinned module's source in Go's module cache (read-only), downloaded if needed."""
    command = ["go", "mod", "download", "-json", MODULES[module_name].pinned]
    done = subprocess.run(
        command, cwd=GO_MODULES / module_name, env=go_env(False), check=False, capture_output=True, text=True
    )
    folder = json.loads(done.stdout or "{}").get("Dir")
    if done.returncode != 0 or not folder:
        raise ClusterError(f"`{' '.join(command)}` in go/{module_name} failed: {done.stdout}{done.stderr}")
    return Path(folder)
