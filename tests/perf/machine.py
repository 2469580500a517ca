"""Facts about the machine that a figure was taken on, without anything that names it; and where results go."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"


def facts() -> dict[str, Any]:
    """Cores, memory, CPU model, Python and the load of the last minute."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "cpu": model,
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def record(name: str, result: dict[str, Any], quiet: bool = False) -> None:
    """Prints a result, unless it is shown otherwise, and writes it to tests/perf/out/<name>.json."""
    OUT.mkdir(exist_ok=True)
    content = {"machine": facts(), **result}
    (OUT / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    if not quiet:
        print(f"\n{name}: {json.dumps(result, indent=2)}")
