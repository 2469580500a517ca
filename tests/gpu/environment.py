"""Part `env`: the card, the machine, versions, imports, and whether CUDA IPC works."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time

from gpu.notes import FW, GB, Notes, Result, shell

PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "tokenizers",
    "numpy",
    "pyarrow",
    "pandas",
    "numba",
    "vllm",
    "verl",
    "ray",
    "TransferQueue",
    "tensordict",
    "flashinfer-python",
    "xgrammar",
)


def part_env(notes: Notes, _args: argparse.Namespace) -> None:
    notes.attempt(
        "gpu",
        lambda: shell(
            "nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,compute_cap --format=csv,noheader"
        ),
    )
    notes.attempt(
        "machine",
        lambda: shell(
            "uname -rm; nproc; free -g | sed -n 2p; df -h /tmp /dev/shm | tail -n +2; "
            "ldd --version | head -1; ulimit -n; id -u"
        ),
    )
    notes.attempt(
        "tools",
        lambda: {t: shutil.which(t) for t in ("nvcc", "gcc", "g++", "ninja", "nvidia-smi", "cuobjdump", "numactl")},
    )
    notes.put(curand_headers=os.environ.get("FW_CURAND", "of the toolkit, or none"))
    notes.attempt(
        "network",
        lambda: shell("ip -brief address 2>/dev/null || cat /proc/net/dev; hostname; getent hosts $(hostname)"),
    )

    def versions() -> Result:
        from importlib import metadata

        out: Result = {"python": sys.version.split()[0]}
        for name in PACKAGES:
            try:
                out[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                out[name] = None
        return out

    notes.attempt("versions", versions)
    for module in (
        "torch",
        "transformers",
        "ray",
        "transfer_queue",
        "vllm",
        "vllm.platforms.cuda",
        "flashinfer",
        "verl",
        "verl.trainer.main_ppo",
        "vllm.v1.worker.gpu_worker",
        "verl.workers.engine.fsdp.transformer_impl",
        "verl.workers.rollout.vllm_rollout.vllm_async_server",
    ):

        def load(module: str = module) -> float:
            started = time.monotonic()
            __import__(module)
            return round(time.monotonic() - started, 1)

        notes.attempt(f"import {module}", load)

    def cuda() -> Result:
        import torch
        from vllm.vllm_flash_attn import FA2_AVAILABLE, FA3_AVAILABLE

        free, total = torch.cuda.mem_get_info()
        return {
            "torch": torch.version.cuda,
            "name": torch.cuda.get_device_name(),
            "total": total / GB,
            "free": free / GB,
            "fa2": FA2_AVAILABLE,
            "fa3": FA3_AVAILABLE,
        }

    notes.attempt("cuda", cuda)
    notes.attempt("cuda_ipc", cuda_ipc)


def cuda_ipc() -> str:
    """verl hands weights to vLLM through CUDA IPC; some virtual machines refuse it."""
    script = (
        "import torch, torch.multiprocessing as mp\n"
        "def other(q, done):\n    t = q.get(); print(float(t.sum()), flush=True); del t; done.set()\n"
        "if __name__ == '__main__':\n"
        "    mp.set_start_method('spawn'); q = mp.Queue(); done = mp.Event()\n"
        "    p = mp.Process(target=other, args=(q, done)); p.start()\n"
        "    t = torch.ones(1 << 20, device='cuda'); q.put(t); assert done.wait(40), 'no answer'\n"
        "    p.join(10); print('ok')\n"
    )
    path = FW / "ipc.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, str(path)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=55
    )
    if done.returncode or "ok" not in done.stdout:
        raise RuntimeError(done.stdout[-800:])
    return "ok"
