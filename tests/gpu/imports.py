"""Whether what a GPU image runs can be imported on a machine without a GPU: a lock's packages, and our own modules.

    python -m gpu.imports trainer|rollout --python ENV/bin/python [--out FILE]

Each import has a process of its own, so that one that ends it costs nothing but itself. What only a driver can answer
is in `NEEDS_DRIVER`, with its reason; any other failure is an error, and so is a name there that can be imported.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELVES = {"trainer": ("trainer", "storage", "agentic", "reading", "rewards"), "rollout": ("rollout", "storage")}
"""Shelves of `flywheel_jobs` that the image runs."""
PACKAGES = {
    "trainer": (
        "torch", "triton", "transformers", "tokenizers", "vllm", "vllm.v1.engine.async_llm", "verl",
        "verl.trainer.main_ppo", "verl.workers.engine_workers", "verl.workers.rollout.vllm_rollout", "ray",
        "tensordict", "transfer_queue", "peft", "flashinfer", "xgrammar", "pyarrow", "numba", "safetensors",
    ),
    "rollout": (
        "torch", "triton", "transformers", "tokenizers", "vllm", "vllm.v1.engine.async_llm",
        "vllm.entrypoints.openai.api_server", "ray", "ray.serve", "ray.serve.llm", "flashinfer", "xgrammar",
        "safetensors",
    ),
}  # fmt: skip
NEEDS_DRIVER: Mapping[str, str] = {}
"""Modules that ask the driver while they are imported, and why."""
SECONDS = 300  # of one import; the slowest, vLLM's API server, took 20 to 60 s without bytecode


@dataclass(frozen=True)
class Found:
    """What came of one import: the version where the module says one, or the last line of what it raised."""

    module: str
    works: bool
    text: str


def modules(image: str) -> list[str]:
    """Everything that is tried for an image, packages first."""
    folder = ROOT / "jobs" / "flywheel_jobs"
    ours = [
        "flywheel_jobs." + ".".join(path.relative_to(folder).with_suffix("").parts)
        for shelf in SHELVES[image]
        for path in sorted((folder / shelf).rglob("*.py"))
        if path.stem not in ("__init__", "__main__")
    ]
    return [*PACKAGES[image], *ours]


def tried(python: Path, module: str) -> Found:
    """One import in a fresh process of that environment."""
    code = f"import {module} as m; print(getattr(m, '__version__', ''))"
    paths = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "jobs")])
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": paths}
    command = [str(python), "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = (done.stdout if done.returncode == 0 else done.stderr or f"ended with {done.returncode}").strip()
    return Found(module, done.returncode == 0, said.splitlines()[-1][:160] if said else "")


def wrong(found: Sequence[Found]) -> list[str]:
    """What differs from what is written here."""
    return [
        f"{f.module}: {'can be imported after all' if f.works else f.text}"
        for f in found
        if f.works == (f.module in NEEDS_DRIVER)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a row for each module; 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", choices=sorted(SHELVES))
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    found = []
    for module in modules(args.image):
        found.append(tried(args.python, module))
        print(f"{'ok  ' if found[-1].works else 'FAIL'} {module} {found[-1].text}", flush=True)
    lines = [f"{args.image}: {sum(f.works for f in found)} of {len(found)} imported, without a GPU", *wrong(found)]
    print("\n".join(lines))
    if args.out is not None:
        rows = [f"{'ok  ' if f.works else 'FAIL'} {f.module} {f.text}".rstrip() for f in found]
        args.out.write_text("\n".join([*rows, *lines]) + "\n")
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main())
