"""The image builder: layers, keys, and that its list of inputs is what the Containerfiles copy."""

import io
import json
import marshal
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import flywheel_api
from builder import oci
from builder.errors import ToolError
from builder.indexes import index_settings
from builder.recipes import APP, IMAGES, RECIPES, ROOT, Recipe
from builder.tools import find_tool
from flywheel_jobs.core.version import code_version

RUN_TIME_INSTALL = re.compile(r"^(CMD|ENTRYPOINT)\b.*\b(pip|uv|apt|apt-get|conda)\b", re.MULTILINE)


def base_image(folder: Path) -> oci.Layout:
    rootfs = folder / "rootfs.tar"
    rootfs.write_bytes(oci.layer_tar([("etc/hostname", b"base\n")]))
    oci.from_rootfs(rootfs, folder / "base")
    return oci.Layout(folder / "base")


def test_layer_is_the_same_bytes_whatever_the_order() -> None:
    files = [("opt/a/x.py", b"1"), ("opt/b.txt", b"2"), ("opt/a/y.py", b"3")]
    first, second = oci.layer_tar(files), oci.layer_tar(reversed(files))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["opt", "opt/a", "opt/a/x.py", "opt/a/y.py", "opt/b.txt"]
    assert {(m.uid, m.gid, m.mtime) for m in members} == {(0, 0, 0)}
    assert {m.mode for m in members if m.isfile()} == {0o644}


def test_added_layer_shares_the_blobs_below(tmp_path: Path) -> None:
    base = base_image(tmp_path)
    layer = oci.layer_tar([("opt/code.py", b"print(1)\n")])
    digest = oci.add_layer(base, tmp_path / "image", layer, "code")
    layout = oci.Layout(tmp_path / "image")
    layout.name("localhost/flywheel/x:abc")
    image, below = layout.image(), base.image()

    assert layout.complete()
    assert image.digest == digest
    assert image.blobs[2] == below.blobs[2]
    assert layout.blob_file(image.blobs[2]).stat().st_ino == base.blob_file(below.blobs[2]).stat().st_ino
    config = image.config()
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == len(image.manifest["layers"]) == 2
    for name in image.blobs:
        assert "sha256:" + oci.sha256_file(layout.blob_file(name)) == name
    index = json.loads((tmp_path / "image" / "index.json").read_text())
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/flywheel/x:abc"
    assert base.complete() and len(below.manifest["layers"]) == 1, "the image below stays as it was"


def test_truncated_layout_is_not_complete(tmp_path: Path) -> None:
    base = base_image(tmp_path)
    assert base.complete()
    layer = base.blob_file(base.image().blobs[2])
    layer.write_bytes(layer.read_bytes()[:-1])
    assert not base.complete()
    assert not oci.Layout(tmp_path / "absent").complete()


def test_archive_carries_the_name_for_each_tool(tmp_path: Path) -> None:
    base = base_image(tmp_path)
    with (tmp_path / "x.tar").open("wb") as out:
        oci.write_archive(base.image(), "localhost/flywheel/base:1", out)
    with tarfile.open(tmp_path / "x.tar") as tar:
        names = tar.getnames()
        stream = tar.extractfile("index.json")
        assert stream
        annotations = json.load(stream)["manifests"][0]["annotations"]
    assert {f"blobs/sha256/{d[7:]}" for d in base.image().blobs} <= set(names)
    assert set(annotations.values()) == {"localhost/flywheel/base:1"}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_key_covers_every_file_that_the_containerfile_copies(recipe: Recipe) -> None:
    text = recipe.containerfile.read_text()
    deps = text.split("\nFROM deps\n")[0]
    copied = {word for line in deps.splitlines() if line.startswith("COPY images/") for word in line.split()[1:-1]}
    named = {str(path.relative_to(ROOT)) for path in recipe.inputs()} - {str(recipe.containerfile.relative_to(ROOT))}
    assert copied == named


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_final_stage_lays_the_same_packages(recipe: Recipe) -> None:
    final = recipe.containerfile.read_text().split("\nFROM deps\n")[1]
    expected = [f"{package} /{APP}/{Path(package).name}" for package in recipe.packages]
    assert re.findall(r"^COPY (.*)", final, re.MULTILINE) == expected


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_images_run_as_a_numbered_user_and_install_nothing_at_run_time(recipe: Recipe) -> None:
    text = recipe.containerfile.read_text()
    assert re.findall(r"^USER (.*)", text, re.MULTILINE)[-1] == "10001:10001"
    assert re.search(r"^ARG BASE_IMAGE=", text, re.MULTILINE)
    assert not RUN_TIME_INSTALL.search(text)


def test_key_follows_base_arguments_and_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["operator"]
    key = recipe.key("local", {})
    assert key == recipe.key("local", {})
    assert key != recipe.key("registry.example/debian:12", {})
    assert key != recipe.key("local", {"CUDA_LIBRARIES": "real"})
    lock = IMAGES / "locks" / "operator.txt"
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + (b"x" if self == lock else b""))
    assert key != recipe.key("local", {})


def test_code_comes_with_bytecode_that_this_python_loads() -> None:
    code = dict(RECIPES["jobs"].code())
    source = f"{APP}/flywheel_api/__init__.py"
    compiled = code[f"{APP}/flywheel_api/__pycache__/__init__.cpython-311.pyc"]
    assert source in code
    assert int.from_bytes(compiled[4:8], "little") == 1, "hash-based and unchecked: nothing is compared at import"
    assert marshal.loads(compiled[16:]).co_filename == f"/{source}"
    assert not [path for path in code if "flywheel_operator" in path]


def test_unknown_builder_is_an_error_that_names_the_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_BUILDER", "kaniko")
    with pytest.raises(ToolError, match=r"IMAGE_BUILDER=kaniko.*buildah"):
        find_tool(tmp_path)


def test_index_settings_of_the_machine_reach_the_build(tmp_path: Path) -> None:
    """A mirror in a configuration file counts as much as one in the environment; the environment wins."""
    etc, home = tmp_path / "etc", tmp_path / "home"
    (home / ".config" / "uv").mkdir(parents=True)
    etc.mkdir()
    assert index_settings({}, home, etc) == {}
    (etc / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\ncert = /etc/ssl/ca.pem\n")
    assert index_settings({}, home, etc) == {
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }
    uv = home / ".config" / "uv" / "uv.toml"
    uv.write_text('[[index]]\nurl = "https://uv.example/simple"\ndefault = true\n')
    assert index_settings({}, home, etc)["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    given = {"UV_DEFAULT_INDEX": "https://env.example/simple", "HOME": "/nowhere"}
    assert index_settings(given, home, etc)["UV_DEFAULT_INDEX"] == "https://env.example/simple"
    assert "HOME" not in index_settings(given, home, etc)


def test_locks_of_the_image_and_of_the_development_environment_agree() -> None:
    """The operator is tested with the versions that its image holds."""

    def pins(name: str) -> dict[str, str]:
        text = (IMAGES / "locks" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+)", text, re.MULTILINE))

    development = pins("dev")
    for image in ("operator", "jobs"):
        different = {n: (v, development.get(n)) for n, v in pins(image).items() if development.get(n) != v}
        assert not different, image


def test_an_image_names_its_code_as_the_checkout_does(tmp_path: Path) -> None:
    for path, data in RECIPES["jobs"].code():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    command = [sys.executable, "-c", "from flywheel_jobs.core.version import code_version; print(code_version())"]
    environment = {"PYTHONPATH": str(tmp_path / APP)}
    said = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.strip() == code_version()
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{12}", code_version())


def test_one_release_number() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "flywheel" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == flywheel_api.__version__


@pytest.mark.parametrize("name", ["rollout-gpu", "trainer-gpu"])
def test_gpu_images_start_without_a_compiler_and_see_only_their_own_gpus(name: str) -> None:
    """Seen on an H100: the default sampler of vLLM needs nvcc. Variables of an image reach every pod, Ray heads too."""
    text = (Path(__file__).resolve().parents[2] / "images" / name / "Containerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "nvcc" in lines or "VLLM_USE_FLASHINFER_SAMPLER=0" in lines
    assert "NVIDIA_VISIBLE_DEVICES" not in lines
