"""The check of the GPU flavour on one GPU, with Flywheel's own code. Run through run.sh, which sets the environment.

    python3 -m gpu.check --out DIR --project CHECKOUT [--parts env,memory,grpo,engine,agentic,toolchain] [--seconds 480]

Every part is a process group of its own with a time-out; what it finds is in DIR/results.json and DIR/table.txt after
every part, its log in DIR/logs.txt. A part that fails costs nothing but itself. Three files in all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from gpu.engine import engine_child, part_engine, part_toolchain
from gpu.environment import part_env
from gpu.notes import FW, Notes, Result
from gpu.table import table
from gpu.training import part_agentic, part_grpo

# name -> (seconds it may take, seconds without which it is not started)
LIMITS: dict[str, tuple[float, float]] = {
    "env": (75, 10),
    "memory": (110, 30),
    "grpo": (360, 240),
    "engine": (240, 90),
    "agentic": (400, 280),
    "toolchain": (110, 40),
}


def part_memory(notes: Notes, args: argparse.Namespace) -> None:
    out = FW / "memory.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gpu.memory", "--out", str(out), "--seconds", str(args.limit - 8)]
    code = subprocess.run(command, env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}).returncode
    notes.put(exit_code=code, rows=json.loads(out.read_text()) if out.exists() else [])


PARTS: dict[str, Callable[[Notes, argparse.Namespace], None]] = {
    "env": part_env,
    "memory": part_memory,
    "grpo": part_grpo,
    "engine": part_engine,
    "agentic": part_agentic,
    "toolchain": part_toolchain,
}


def conduct(args: argparse.Namespace) -> int:
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results: dict[str, Result] = {}
    logs: list[str] = []

    def write() -> None:
        (out / "results.json").write_text(json.dumps(results, indent=1, default=str))
        (out / "table.txt").write_text(table(results))
        (out / "logs.txt").write_text("\n".join(logs))

    for name in args.parts.split(","):
        most, least = LIMITS[name]
        left = args.seconds - (time.monotonic() - started)
        if left < least:
            results[name] = {"state": f"not started: {left:.0f} s left", "took": 0}
            write()
            continue
        limit = min(most, left)
        found, log = FW / f"{name}.json", FW / f"{name}.log"
        found.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "gpu.check",
            "--part",
            name,
            "--out",
            str(found),
            "--project",
            str(args.project),
            "--limit",
            str(limit),
            *(x for o in args.override for x in ("--override", o)),
            *(["--no-ipc"] if args.no_ipc else []),
        ]
        begun = time.monotonic()
        print(f"---- {name}: at most {limit:.0f} s", flush=True)
        with log.open("w") as stream:
            child = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, stdin=subprocess.DEVNULL
            )
            try:
                state = f"exit {child.wait(limit)}"
            except subprocess.TimeoutExpired:
                state = f"stopped after {limit:.0f} s"
        end_all(child.pid)
        took = round(time.monotonic() - begun, 1)
        text = log.read_text(errors="replace")
        logs.append(
            f"######## {name} ({state}, {took} s)\n{text[:60_000]}\n[...]\n{text[-200_000:]}"
            if len(text) > 260_000
            else f"######## {name} ({state}, {took} s)\n{text}"
        )
        values = json.loads(found.read_text()) if found.exists() else {"last_lines": text.splitlines()[-40:]}
        if name == "memory" and "rows" not in values and (FW / "memory.json").exists():  # it was stopped
            values["rows"] = json.loads((FW / "memory.json").read_text())
        results[name] = {"state": state, "took": took, **values}
        if name == "env" and "error" in str(values.get("cuda_ipc", "")):
            args.no_ipc = True
            results[name]["decision"] = "CUDA IPC refused: training goes through shared memory"
        write()
        print(table({name: results[name]}), flush=True)
    print(f"---- all in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def end_all(group: int) -> None:
    """Ends a part's processes and what it left behind: Ray's daemons and vLLM's workers leave the group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            break
        time.sleep(1.5)
    mine = {os.getpid(), os.getppid()}
    for entry in Path("/proc").iterdir():  # only what this kit started: processes that run its environment
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"FW_PART={group_mark()}".encode() in environment and b"gpu.model" not in command:
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                pass


def group_mark() -> str:
    return os.environ.get("FW_RUN", "0")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--project", type=Path, default=Path("."))
    parser.add_argument("--parts", default=",".join(LIMITS))
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument(
        "--override", action="append", default=[], help="a further verl setting for grpo and agentic, KEY=JSON"
    )
    parser.add_argument("--no-ipc", action="store_true", help="weights to vLLM through shared memory")
    parser.add_argument("--part", help="internal")
    parser.add_argument("--limit", type=float, default=100, help="internal")
    parser.add_argument("--engine", help="internal")
    args = parser.parse_args()
    if args.engine:
        return engine_child(json.loads(args.engine))
    for folder in ("jobs", "operator"):  # Flywheel itself, from the checkout that travelled along
        path = str((args.project / folder).resolve())
        sys.path.insert(0, path)
        if path not in os.environ.get("PYTHONPATH", "").split(":"):
            os.environ["PYTHONPATH"] = f"{os.environ.get('PYTHONPATH', '')}:{path}"
    if not args.part:
        os.environ["FW_RUN"] = str(os.getpid())
        return conduct(args)
    os.environ["FW_PART"] = group_mark()  # children inherit it
    notes = Notes(args.out)
    try:
        PARTS[args.part](notes, args)
    except BaseException as error:
        notes.put(error=f"{type(error).__name__}: {error}"[:2000])
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
