"""The results as a table to read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gpu.notes import Result

_ASIDE = (
    "state",
    "took",
    "settings",
    "last_lines",
    "sample",
    "rows",
    "steps",
    "progress",
)  # shown in another way, or not at all


def table(results: dict[str, Result]) -> str:
    """One line for each finding: part, what, value."""
    lines = []
    for part, found in results.items():
        rows = [("state", f"{found.get('state')} in {found.get('took')} s"), *_memory(found), *_attempt(found)]
        rows += [(key, json.dumps(value, default=str)[:400]) for key, value in found.items() if key not in _ASIDE]
        lines += [f"{part:<10} {what:<44} {value}" for what, value in rows]
    return "\n".join(lines) + "\n"


def _memory(found: Result) -> Iterator[tuple[str, str]]:
    rows = found.get("rows")
    for row in rows if isinstance(rows, list) else ():  # a training's is the number of its prompts
        if "seconds" not in row:
            yield f"{row.get('shape')} {row.get('way', '')}", str(row.get("error") or row.get("skipped") or row)
            continue
        e = row.get("expected", {})
        sum_of = f"states {e['states']} + checkpoints {e['checkpoints']} + 2 x logits {e['logits']} = {e['sum1']}"
        value = f"{e['tokens']} tokens, {row['seconds']} s, peak {row['peak']} GB ({sum_of}), differs {row['differs']}"
        yield f"{row['shape']} {row['way']}", value


def _attempt(found: Result) -> Iterator[tuple[str, str]]:
    """What the operator would have read, and when; then the steps."""
    for at, text in found.get("progress") or []:
        yield f"after {at} s", text
    for step in found.get("steps") or []:
        gen, update, sync = (step.get(f"seconds_{name}") for name in ("generate", "update", "sync"))
        groups = f"{step.get('groups')} groups, {step.get('zero_variance_groups')} without variance"
        said = [
            f"reward {step.get('reward')} ({groups}, {step.get('masked')} masked)",
            f"{step.get('seconds')} s (gen {gen}, update {update}, sync {sync})",
            f"gradient {step.get('grad_norm')}",
            f"card {step.get('card_gb')} GB",
            f"rollout-train diff {step.get('rollout_probs_diff_max')}",
            *([f"validation {step['validation']}"] if step.get("validation") else []),
        ]
        yield f"step {step['step']}", ", ".join(said)
