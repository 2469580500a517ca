"""Finding the host's cgroup hierarchies, and removing what the node left."""

from pathlib import Path

from cluster.cgroups import Hierarchy, join_targets, remove, v1_hierarchies

_SELF = "12:name=systemd:/\n4:memory:/box/1\n3:cpu,cpuacct:/\n2:freezer:/\n0::/\n"
_MOUNTS = """\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_v1_hierarchies_are_matched_to_their_mounts() -> None:
    assert v1_hierarchies(_SELF, _MOUNTS) == [
        Hierarchy("name=systemd", "/sys/fs/cgroup/systemd", "/"),
        Hierarchy("memory", "/sys/fs/cgroup/memory", "/box/1"),
        Hierarchy("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/"),
    ]  # freezer is mounted nowhere, the last line is v2


def test_a_v2_host_has_no_v1_hierarchy() -> None:
    assert v1_hierarchies("0::/user.slice\n", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n") == []


def test_on_v2_processes_join_the_leaf(tmp_path: Path) -> None:
    (tmp_path / "group" / "init").mkdir(parents=True)
    assert join_targets([str(tmp_path / "group")]) == [str(tmp_path / "group" / "init")]
    assert join_targets([str(tmp_path)]) == [str(tmp_path)]


def test_remove_goes_bottom_up_and_says_what_stays(tmp_path: Path) -> None:
    (tmp_path / "a" / "pods" / "one").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "busy").write_text("a file stands for a process: rmdir is refused")
    assert remove([str(tmp_path / "a"), str(tmp_path / "b")], timeout_s=0.2) == [str(tmp_path / "b")]
    assert not (tmp_path / "a").exists()
