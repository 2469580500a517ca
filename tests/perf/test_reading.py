"""Benchmark: MB/s of the reader of what models say (target: 20) and pairs/s of the comparer with its process (2,000).

Nothing comes from a cache: every text and every answer is another.
"""

from __future__ import annotations

import random
import time

import pytest

from flywheel_jobs.reading import calls, final, library
from flywheel_jobs.reading.equality import equal
from perf.machine import middle, record
from perf.meter import cpu_seconds

RUNS = 3
CALL = '<tool_call>{"name": "get_booking", "arguments": {"id": 47}}</tool_call>'
LINE = "Let $x^2 < 5$ be given [1]; then we add 3 to both sides, which \\frac{1}{2} of the cases need.\n"


MARKS = [("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷")]


def texts(rng: random.Random, opening: str, closing: str) -> list[str]:
    """Answers of a thinking model, some 5 KB each, with calls or final answers."""
    found = []
    for number in range(400):
        thought = LINE * rng.randint(20, 80)
        ending = CALL if number % 2 else f"So \\boxed{{{rng.randint(0, 999)}}} is the answer."
        found.append(f"{opening}{thought}maybe \\boxed{{7}}{closing}\n\n{LINE * 3}{ending}")
    return found


def pairs(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Truths and answers as a training meets them: mostly numbers, some collections and expressions, a few others."""
    found = []
    for number in range(count):
        a, b = rng.randint(1, 10**7), rng.randint(2, 10**4)
        kind = number % 100
        if kind < 70:
            found.append((str(a), rng.choice([str(a), str(a + 1), f"{a:,}", f"{a}.0", rf"\frac{{{2 * a}}}{{2}}"])))
        elif kind < 80:
            found.append((f"({a}, {b})", rng.choice([f"({a},{b})", f"({b},{a})", f"[{a},{b}]"])))
        elif kind < 90:
            found.append((rf"{a}\sqrt{{{b}}}", rng.choice([rf"{a}\sqrt {b}", rf"{b}\sqrt{{{a}}}", str(a)])))
        elif kind < 95:
            found.append((f"x^2+{a}x+{b}", rng.choice([f"{b}+x^2+{a}x", f"x^2+{b}x+{a}"])))
        else:
            found.append((f"{a} cm", rng.choice([f"{a}\\text{{ cm}}", f"{a} m", f"{b} cm"])))
        if not number % 2000:
            found[-1] = (rf"\sum_{{k=1}}^{{{b % 9 + 2}}} k+{a}", str(a))  # for the library
    return found


def cpu() -> float:
    """CPU seconds of this process and of the library's."""
    child = library._LIBRARY._process
    return time.process_time() + (cpu_seconds(child.pid) if child else 0.0)


def rates(corpus: list[str]) -> list[float]:
    """MB of text per second of CPU, in each run."""
    size, found = sum(map(len, corpus)) / 1e6, []
    for _ in range(RUNS):
        started = time.process_time()
        for text in corpus:
            calls.parse(text)
            final.find(text)
        found.append(round(size / (time.process_time() - started), 1))
    return found


def test_reader() -> None:
    """By the marks of thought: those that begin with `<`, and two families that do not."""
    of = {opening: rates(texts(random.Random(5), opening, closing)) for opening, closing in MARKS}
    slowest = min(of, key=lambda opening: middle(of[opening]))
    record(
        "reader",
        {
            "what": "MB of text per second of CPU, read for its thought, its calls and its final answer",
            "mb": round(sum(map(len, texts(random.Random(5), *MARKS[0]))) / 1e6, 2),
            "mb_per_s": middle(of[slowest]),
            "runs_mb_per_s": of[slowest],
            "by_mark_mb_per_s": {opening: middle(found) for opening, found in of.items()},
            "target": 20,
        },
    )


@pytest.mark.timeout(600)
def test_comparer() -> None:
    equal(r"\sum_{k=1}^{3} k", "6")  # the process is started
    reached: list[float] = []
    for run in range(RUNS):
        found = pairs(random.Random(run), 4000)
        started = cpu()
        for pair in found:
            equal(*pair)
        reached.append(len(found) / (cpu() - started))
    record(
        "comparer",
        {
            "what": "pairs per second of CPU, with the library's process; 70 % are numbers",
            "pairs_per_s": round(middle(reached)),
            "runs_pairs_per_s": [round(r) for r in reached],
            "target": 2000,
        },
    )
