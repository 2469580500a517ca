"""Images as files: what is made is a valid layout, and a thin archive holds just what is lacking."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.oci import Image, Layout, binary_image, blob_path, choose, missing_blobs, write_archive
from cluster.errors import ClusterError
from cluster.images import KUBERAY_IMAGE, docker_name, normalize, open_image, split_reference, superseded
from cluster.paths import GO_MODULES
from cluster.pins import MODULES, pinned_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    binary = tmp_path / "tool"
    binary.write_bytes(b"\x7fELF" + b"x" * 1000)
    return binary_image(tmp_path / "image", binary, "/manager").folder


def image_of(folder: Path) -> Image:
    return Layout(folder).image()


def test_binary_image_is_a_consistent_layout(folder: Path) -> None:
    image = image_of(folder)
    for digest in image.blobs:
        body = (folder / blob_path(digest)).read_bytes()
        assert "sha256:" + hashlib.sha256(body).hexdigest() == digest
    config = json.loads((folder / blob_path(image.blobs[1])).read_text())
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/manager"]
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 1
    with tarfile.open(folder / blob_path(image.blobs[2])) as layer:
        member = layer.getmember("manager")
        assert member.mode == 0o755 and member.size == 1004


def test_binary_image_is_made_once_and_is_reproducible(folder: Path, tmp_path: Path) -> None:
    again = binary_image(tmp_path / "second", tmp_path / "tool", "/manager")
    assert again.image().digest == image_of(folder).digest
    before = (folder / "index.json").stat().st_mtime_ns
    binary_image(folder, tmp_path / "tool", "/manager")
    assert (folder / "index.json").stat().st_mtime_ns == before


def thin_names(image: Image, known: set[str]) -> tuple[list[str], dict[str, object], int]:
    out = io.BytesIO()
    size = write_archive(image, "localhost/x:1", out, known)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        return [m.name for m in tar], json.load(index), size


def test_a_thin_archive_holds_only_unknown_blobs(folder: Path) -> None:
    image = image_of(folder)
    whole, _, size = thin_names(image, set())
    assert [blob_path(d) for d in image.blobs] == whole[:3] and size > 1000
    thin, index, size = thin_names(image, {image.blobs[2], "sha256:other"})
    assert thin == [blob_path(image.blobs[0]), blob_path(image.blobs[1]), "oci-layout", "index.json"]
    assert size < 1500
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/x:1"  # type: ignore[index]
    assert missing_blobs(image, set(image.blobs)) == []


def test_an_archive_reads_like_its_folder(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    image = open_image(archive)
    assert image is not None and image.blobs == image_of(folder).blobs
    assert thin_names(image, set())[0] == thin_names(image_of(folder), set())[0]


def test_a_docker_archive_is_recognised(tmp_path: Path) -> None:
    archive = tmp_path / "old.tar"
    (tmp_path / "manifest.json").write_text('[{"RepoTags": ["app:1"]}]')
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "manifest.json", "manifest.json")
    assert open_image(archive) is None
    assert docker_name(archive) == "docker.io/library/app:1"


def test_an_archive_without_any_image_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar"
    (tmp_path / "manifest.json").write_text("[]")
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "manifest.json", "manifest.json")
    with pytest.raises(ClusterError, match="no image archive"):
        docker_name(archive)


def test_the_operator_image_has_the_name_that_its_manifests_use() -> None:
    version = pinned_version(MODULES["kuberay"], (GO_MODULES / "kuberay" / "go.mod").read_text())
    assert f"quay.io/kuberay/operator:{version}" == KUBERAY_IMAGE


def test_bad_archives_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive " * 100)
    with pytest.raises(ToolError, match="not an uncompressed tar archive"):
        open_image(tmp_path / "text.tar")
    with pytest.raises(ClusterError, match="build the image first"):
        open_image(tmp_path / "absent.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ToolError, match="not an OCI image layout"):
        open_image(tmp_path / "empty")


def test_one_of_several_images_must_be_named() -> None:
    key = "org.opencontainers.image.ref.name"
    manifests = [{"digest": "a", "annotations": {key: "1"}}, {"digest": "b", "annotations": {key: "localhost/x:2"}}]
    assert choose(manifests, "1")["digest"] == "a"
    assert choose(manifests, "2")["digest"] == "b"
    with pytest.raises(ToolError, match="say which"):
        choose(manifests, "")


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("app", "docker.io/library/app:latest"),
        ("team/app:2", "docker.io/team/app:2"),
        ("localhost/app:1", "localhost/app:1"),
        ("quay.io/kuberay/operator", "quay.io/kuberay/operator:latest"),
        ("host:5000/app", "host:5000/app:latest"),
    ],
)
def test_names_are_made_as_kubernetes_looks_them_up(short: str, full: str) -> None:
    assert normalize(short) == full


def test_references_split_at_the_tag_unless_the_path_exists(tmp_path: Path) -> None:
    assert split_reference("/a/b:v1") == (Path("/a/b"), "v1")
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert split_reference(str(odd)) == (odd, "")


def test_only_other_tags_of_the_same_repository_are_superseded() -> None:
    names = ["localhost/flywheel/jobs:1", "localhost/flywheel/jobs:2", "localhost/minio:1", "localhost/jobs:1"]
    assert superseded(names, ["localhost/flywheel/jobs:2"]) == ["localhost/flywheel/jobs:1"]
