"""Parts `engine` and `toolchain`: vLLM alone, beside a trainer (G5), and where there is no compiler (G7)."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu.notes import FW, GB, MODEL, Notes, Result, wait_for_model


def engine_arguments(**more: Any) -> Result:
    return {"model": str(MODEL), "dtype": "bfloat16", "max_model_len": 1024, "seed": 1, **more}


def flashinfer_built() -> list[Result]:
    """Modules that FlashInfer compiled, with the seconds between writing the build file and the library."""
    root = Path(os.environ.get("FLASHINFER_WORKSPACE_BASE", Path.home())) / ".cache" / "flashinfer"
    found = []
    for library in sorted(root.rglob("*.so")):
        build = library.parent / "build.ninja"
        begun = build.stat().st_mtime if build.exists() else None
        found.append(
            {"module": library.parent.name, "seconds": round(library.stat().st_mtime - begun, 1) if begun else None}
        )
    return found


def part_engine(notes: Notes, _args: argparse.Namespace) -> None:
    """vLLM alone, as a rollout server runs it; then how much a trainer may hold beside it (G5)."""
    wait_for_model()
    started = time.monotonic()
    from vllm import LLM, SamplingParams

    asked = engine_arguments(gpu_memory_utilization=0.7, max_num_seqs=256, enable_sleep_mode=True)
    try:
        llm = LLM(**asked)
    except Exception as error:  # most likely FlashInfer's compilation; once more without its sampler
        notes.put(
            default_start=f"{type(error).__name__}: {error}"[:600],
            after=round(time.monotonic() - started, 1),
            flashinfer_compiled=flashinfer_built(),
        )
        os.environ["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
        started = time.monotonic()
        llm = LLM(**asked)
    notes.put(
        start_seconds=round(time.monotonic() - started, 1),
        flashinfer_sampler=os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "default"),
        flashinfer_compiled=flashinfer_built(),
    )
    prompts = [
        [{"role": "system", "content": "Compute."}, {"role": "user", "content": f"{a}+{b}"}]
        for a in range(16)
        for b in range(16)
    ]

    def rate(**sampling: Any) -> Result:
        begun = time.monotonic()
        out = llm.chat(
            prompts, SamplingParams(temperature=1.0, max_tokens=128, ignore_eos=True, **sampling), use_tqdm=False
        )
        seconds = time.monotonic() - begun
        tokens = sum(len(o.outputs[0].token_ids) for o in out)
        return {
            "samples": len(out),
            "tokens": tokens,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds),
            "first": out[0].outputs[0].text[:80],
        }

    notes.attempt("first_256", rate)
    notes.attempt("plain_256", rate)
    notes.attempt("top_p_top_k_256", lambda: rate(top_p=0.95, top_k=40))
    notes.put(flashinfer_compiled_after=flashinfer_built())

    def fraction() -> Result:
        import torch

        torch.zeros(1, device="cuda")  # makes this process's context, as a trainer has one
        awake_free, total = torch.cuda.mem_get_info()
        llm.sleep(level=1)
        asleep_free = torch.cuda.mem_get_info()[0]
        out: Result = {
            "total": total / GB,
            "awake_free": awake_free / GB,
            "asleep_free": asleep_free / GB,
            "asleep_held": (total - asleep_free) / GB,
            "arithmetic_free": total * 0.3 / GB,
            "tries": [],
        }
        notes.put(fraction=out)
        for spare in (2.0, 0.5, -1.0):  # GB left free beside a trainer's memory; the last one must not fit
            ballast = torch.empty(int(max(0, awake_free - spare * GB)), dtype=torch.uint8, device="cuda")
            begun = time.monotonic()
            try:
                llm.wake_up()
                llm.chat(prompts[:8], SamplingParams(max_tokens=8), use_tqdm=False)
                verdict = "woke and answered"
            except Exception as error:
                verdict = f"{type(error).__name__}: {error}"[:200]
            out["tries"].append(
                {
                    "trainer_holds": ballast.numel() / GB,
                    "spare": spare,
                    "verdict": verdict,
                    "seconds": round(time.monotonic() - begun, 2),
                }
            )
            notes.put(fraction=out)
            if not verdict.startswith("woke"):
                break
            llm.sleep(level=1)
            del ballast
            torch.cuda.empty_cache()
        return out

    notes.attempt("fraction", fraction)


def bare_path() -> str:
    """A PATH as in the trainer image: gcc, but no g++, no nvcc.

    VLLM_HAS_FLASHINFER_CUBIN stands for the cubin package that the image has.
    """
    folder = FW / "bare-bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for place in (Path(sys.executable).parent, Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin")):
        for tool in place.iterdir() if place.is_dir() else []:
            if not re.search(r"\+\+|nvcc|clang", tool.name) and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    return str(folder)


def part_toolchain(notes: Notes, _args: argparse.Namespace) -> None:
    wait_for_model()
    path = bare_path()
    cases: dict[str, tuple[Result, Result]] = {
        "as the image, vLLM's defaults (RolloutPool)": ({}, {}),
        "as the image, VLLM_USE_FLASHINFER_SAMPLER=0": ({"VLLM_USE_FLASHINFER_SAMPLER": "0"}, {}),
        "as the image, logprobs_mode of verl (RLJob)": ({}, {"logprobs_mode": "processed_logprobs"}),
    }
    running = {}
    for number, (name, (environment, arguments)) in enumerate(cases.items()):
        home = FW / f"bare-home-{number}"
        home.mkdir(exist_ok=True)
        full = {
            **os.environ,
            "PATH": path,
            "CUDA_HOME": "/nonexistent",
            "CUDA_PATH": "/nonexistent",
            "VLLM_HAS_FLASHINFER_CUBIN": "1",
            "HOME": str(home),
            "FLASHINFER_WORKSPACE_BASE": str(home),
            "VLLM_CACHE_ROOT": str(home / "vllm"),
            "TRITON_CACHE_DIR": str(home / "triton"),
            **environment,
        }
        full.pop("CXX", None)
        asked = engine_arguments(
            enforce_eager=True, gpu_memory_utilization=0.1, kv_cache_memory_bytes=1 << 30, max_num_seqs=16, **arguments
        )
        log = (FW / f"toolchain-{number}.log").open("w")
        running[name] = (
            subprocess.Popen(
                [sys.executable, "-m", "gpu.check", "--engine", json.dumps(asked)],
                env=full,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ),
            FW / f"toolchain-{number}.log",
            time.monotonic(),
        )
    deadline = time.monotonic() + 100
    for name, (child, log_path, begun) in running.items():
        try:
            code: Any = child.wait(max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = "no end"
            os.killpg(child.pid, signal.SIGKILL)
        text = log_path.read_text(errors="replace")
        hints = [
            line.strip()[-300:]
            for line in text.splitlines()
            if re.search(r"FlashInfer|flashinfer|nvcc|ninja|RuntimeError|Error:|ANSWER", line)
        ]
        notes.put(
            **{
                name: {
                    "exit": code,
                    "seconds": round(time.monotonic() - begun, 1),
                    "answered": "ANSWER" in text,
                    "hints": hints[:4] + hints[-8:],
                }
            }
        )
        print(f"==== {name}\n{text[-6000:]}", flush=True)


def engine_child(arguments: Result) -> int:
    from vllm import LLM, SamplingParams

    llm = LLM(**arguments)
    out = llm.generate(["1+1="], SamplingParams(max_tokens=4, top_p=0.9, top_k=20), use_tqdm=False)
    print("ANSWER", json.dumps(out[0].outputs[0].text), flush=True)
    return 0
