"""Which images there are, what goes into each, and the key under which a build of it is kept."""

import hashlib
import importlib.util
import marshal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "images"
APP = "opt/flywheel/app"  # where every image has our packages; on PYTHONPATH
REGISTRY = "localhost/flywheel"
PYTHON_MAGIC = importlib.util.MAGIC_NUMBER


@dataclass(frozen=True)
class Recipe:
    name: str
    packages: tuple[str, ...]  # folders under the root that are laid over the dependencies
    locks: tuple[str, ...]  # lock files that the Containerfile copies
    extra: tuple[str, ...] = ()  # further files under images/ that the Containerfile copies

    @property
    def containerfile(self) -> Path:
        return IMAGES / self.name / "Containerfile"

    def inputs(self) -> list[Path]:
        """Every file that the stage `deps` is made of."""
        names = ["prepare-base.sh", "install-env.sh", "locks/uv.txt", *(f"locks/{x}" for x in self.locks), *self.extra]
        return [self.containerfile, *(IMAGES / n for n in names)]

    def key(self, base: str, arguments: dict[str, str]) -> str:
        """Hash of everything that the stage `deps` depends on: its files, the base image, the build arguments."""
        digest = hashlib.sha256()
        # the code is laid over later: the final stage of the Containerfile does not count
        for path in self.inputs():
            content = path.read_bytes()
            if path == self.containerfile:
                content = content.split(b"\nFROM deps\n")[0]
            digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
        for item in (f"base={base}", *(f"{k}={v}" for k, v in sorted(arguments.items()))):
            digest.update(item.encode() + b"\0")
        return digest.hexdigest()[:16]

    def code(self) -> Iterator[tuple[str, bytes]]:
        """The files of our packages and their bytecode, as (path in the image, content)."""
        for package in self.packages:
            folder = ROOT / package
            for path in sorted(folder.rglob("*")):
                if path.is_dir() or "__pycache__" in path.parts or path.suffix == ".pyc":
                    continue
                inside = f"{APP}/{folder.name}/{path.relative_to(folder)}"
                content = path.read_bytes()
                yield inside, content
                if path.suffix == ".py":
                    yield _bytecode_path(inside), _bytecode(content, f"/{inside}")


def _bytecode_path(source: str) -> str:
    path = Path(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc")


def _bytecode(source: bytes, path: str) -> bytes:
    """An unchecked hash-based .pyc (PEP 552): the image's files are never edited, so nothing is compared at import."""
    code = compile(source, path, "exec", dont_inherit=True)
    flags = (0b01).to_bytes(4, "little")
    return PYTHON_MAGIC + flags + importlib.util.source_hash(source) + marshal.dumps(code)


_OPERATOR = ("operator/flywheel_api", "operator/flywheel_store", "operator/flywheel_operator")
_JOBS = ("operator/flywheel_api", "operator/flywheel_store", "jobs/flywheel_domains", "jobs/flywheel_jobs")
_STUBS = ("ray-cpu/wheelfile.py", "ray-cpu/make_cuda_stubs.py", "ray-cpu/make_vllm_alias.py")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("operator", _OPERATOR, ("operator.txt",)),
        Recipe("jobs", (*_JOBS, "jobs/flywheel_standin"), ("jobs.txt",)),
        Recipe("ray-cpu", _JOBS, ("ray-cpu.txt", "ray-cpu-real.txt"), _STUBS),
        Recipe("trainer-gpu", _JOBS, ("trainer-gpu.txt",)),
        Recipe("rollout-gpu", _JOBS, ("rollout-gpu.txt",)),
    )
}
# what the local cluster runs; the GPU images (about 10 GB each) are built when they are named
DEFAULT = ("operator", "jobs", "ray-cpu")
