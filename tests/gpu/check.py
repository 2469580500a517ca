"""The check of the GPU flavour on one GPU, with Flywheel's own code. Run through run.sh, which sets the environment.

    python3 -m gpu.check --out DIR --project CHECKOUT [--parts env,agentic+lora+warm_up] [--seconds 480]

Parts joined by + share the card: trainings then take a fifth of it each, and fewer processes.
Every part is a process group of its own with a time-out; what it finds is in DIR/results.json and DIR/table.txt after
every part, its log in DIR/logs.txt. A part that fails costs nothing but itself. Three files in all.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from gpu.attempt import train
from gpu.engine import engine_child, part_engine, part_toolchain
from gpu.environment import part_env
from gpu.notes import FW, PART, Notes, Result, kill, marked
from gpu.table import table
from gpu.training import KINDS

# name -> (seconds it may take, seconds without which it is not started)
LIMITS: dict[str, tuple[float, float]] = {
    "env": (120, 10),
    "memory": (110, 30),
    "grpo": (360, 240),
    "engine": (240, 90),
    "agentic": (480, 280),
    "toolchain": (110, 40),
    "gspo": (480, 280),
    "lora": (480, 280),
    "warm_up": (540, 360),
    "brakes": (480, 280),
    "climb": (560, 420),
    "resumed": (560, 420),
}
APART = 2.0  # seconds between parts that run at the same time: two Rays that start at once may take the same ports


def part_memory(notes: Notes, args: argparse.Namespace) -> None:
    out = FW / "memory.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gpu.memory", "--out", str(out), "--seconds", str(args.limit - 8)]
    code = subprocess.run(command, env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}).returncode
    notes.put(exit_code=code, rows=json.loads(out.read_text()) if out.exists() else [])


PARTS: dict[str, Callable[[Notes, argparse.Namespace], None]] = {
    "env": part_env,
    "memory": part_memory,
    "engine": part_engine,
    "toolchain": part_toolchain,
    **{kind: functools.partial(train, kind) for kind in KINDS},
}


class Running:
    """A part that was started: a process group whose members carry a mark of their own."""

    def __init__(self, name: str, args: argparse.Namespace, limit: float, beside: bool) -> None:
        self.name, self.limit = name, limit
        self._found, self._log = FW / f"{name}.json", FW / f"{name}.log"
        self._found.unlink(missing_ok=True)
        self._mark = f"{PART}={os.getpid()}-{name}"
        self._begun = time.monotonic()
        print(f"---- {name}: at most {limit:.0f} s", flush=True)
        command = [sys.executable, "-m", "gpu.check", "--part", name, "--out", str(self._found)]
        command += ["--project", str(args.project), "--limit", str(limit)]
        command += [word for override in args.override for word in ("--override", override)]
        command += [flag for flag, given in (("--no-ipc", args.no_ipc), ("--beside", beside)) if given]
        with self._log.open("w") as stream:
            self._child = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **dict([self._mark.split("=", 1)])},
            )

    def ended(self) -> str | None:
        """How it ended, once it has; one whose time is over is stopped."""
        code = self._child.poll()
        if code is None and time.monotonic() - self._begun < self.limit:
            return None
        self._end_all()
        return f"exit {code}" if code is not None else f"stopped after {self.limit:.0f} s"

    def found(self, state: str) -> tuple[Result, str]:
        """What it found, and its log."""
        took, text = round(time.monotonic() - self._begun, 1), self._log.read_text(errors="replace")
        if len(text) > 260_000:
            text = f"{text[:60_000]}\n[...]\n{text[-200_000:]}"
        found = json.loads(self._found.read_text()) if self._found.exists() else {"last_lines": text.splitlines()[-40:]}
        if self.name == "memory" and "rows" not in found and (FW / "memory.json").exists():  # it was stopped
            found["rows"] = json.loads((FW / "memory.json").read_text())
        return {"state": state, "took": took, **found}, f"######## {self.name} ({state}, {took} s)\n{text}"

    def _end_all(self) -> None:
        """Ends its processes and what it left behind: Ray's daemons and vLLM's workers leave the group."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, sign)
            except ProcessLookupError:
                break
            time.sleep(1.5)
        kill(marked(self._mark))


def conduct(args: argparse.Namespace) -> int:
    """Groups of parts one after the other, the parts of a group at the same time."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results: dict[str, Result] = {}
    logs: list[str] = []

    def keep(name: str, result: Result, *log: str) -> None:
        results[name] = result
        logs.extend(log)
        (out / "results.json").write_text(json.dumps(results, indent=1, default=str))
        (out / "table.txt").write_text(table(results))
        (out / "logs.txt").write_text("\n".join(logs))
        print(table({name: result}), flush=True)

    for group in args.parts.split(","):
        names, running = group.split("+"), list[Running]()
        for name in names:
            most, least = LIMITS[name]
            left = args.seconds - (time.monotonic() - started)
            if left < least:
                keep(name, {"state": f"not started: {left:.0f} s left", "took": 0})
                continue
            running.append(Running(name, args, min(most, left), beside=len(names) > 1))
            time.sleep(APART if len(names) > 1 else 0)
        while running:
            time.sleep(0.5)
            for part in running.copy():
                state = part.ended()
                if state is None:
                    continue
                running.remove(part)
                result, log = part.found(state)
                if part.name == "env" and "error" in str(result.get("cuda_ipc", "")):
                    args.no_ipc = True
                    result["decision"] = "CUDA IPC refused: training goes through shared memory"
                keep(part.name, result, log)
    print(f"---- all in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--project", type=Path, default=Path("."))
    parser.add_argument("--parts", default=",".join(LIMITS), help="those joined by + run at the same time")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument(
        "--override", action="append", default=[], help="a further verl setting of the trainings, KEY=JSON"
    )
    parser.add_argument("--no-ipc", action="store_true", help="weights to vLLM through shared memory")
    parser.add_argument("--part", help="internal")
    parser.add_argument("--beside", action="store_true", help="internal")
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
        return conduct(args)
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
