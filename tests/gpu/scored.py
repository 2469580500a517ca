"""What models answer to the demo's held-out problems, and the gain from the first to the last, with its interval.

    python3 -m gpu.scored OUT.json BASE_FOLDER TUNED_FOLDER

A process of its own: the one that drives a training sees no GPU. Sampled at temperature 1 by transformers, not by the
engine that trained, and scored by the reward's own reader.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from gpu.notes import Result
from gpu.training import CLIMB, suite

REPEATS = 8
ROWS = 480  # answered side by side


def apart(out: Path, *folders: Path) -> Result:
    """The same in a process that sees the card. Raises CalledProcessError, its output printed."""
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-m", "gpu.scored", str(out), *map(str, folders)]
    subprocess.run(command, check=True, env=seen)
    found: Result = json.loads(out.read_text())
    return found


def main() -> int:
    from flywheel_jobs.evaluation.intervals import spread

    out, *folders = map(Path, sys.argv[1:])
    problems = suite()
    rights = {folder.name: right(folder, problems) for folder in folders}
    first, *_, last = rights.values()
    gain = spread([b - a for a, b in zip(first, last, strict=True)], -1, 1)
    found: Result = {"items": len(problems), "repeats": REPEATS}
    for name, rates in rights.items():
        found[name] = {"score": round(float(sum(rates) / len(rates)), 4), "by level": by_level(problems, rates)}
    found["gain"] = [round(gain.mean, 4), *(round(end, 4) for end in gain.interval(0.95))]
    out.write_text(json.dumps(found))
    return 0


def by_level(problems: list[Any], rates: list[Fraction]) -> dict[int, float]:
    """Mean rate by level."""
    levels = sorted({p.level for p in problems})
    found = {level: [r for p, r in zip(problems, rates, strict=True) if p.level == level] for level in levels}
    return {level: round(float(sum(values) / len(values)), 3) for level, values in found.items()}


def right(folder: Path, problems: list[Any]) -> list[Fraction]:
    """The share of right answers to each problem."""
    from flywheel_jobs.rewards import math

    answers = sampled(folder, [p.messages() for p in problems for _ in range(REPEATS)])
    rights = [
        math.score(text, problems[n // REPEATS].answer or "", cut=cut)["correct"]
        for n, (text, cut) in enumerate(answers)
    ]
    return [Fraction(sum(rights[n : n + REPEATS]), REPEATS) for n in range(0, len(rights), REPEATS)]


def sampled(folder: Path, asked: list[Any]) -> list[tuple[str, bool]]:
    """An answer to each conversation, and whether it was cut at its token limit."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    found = []
    for start in range(0, len(asked), ROWS):
        texts = [
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            for messages in asked[start : start + ROWS]
        ]
        ids = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(device)
        limits = {"max_new_tokens": CLIMB["max_response_tokens"], "pad_token_id": tokenizer.pad_token_id}
        out = model.generate(**ids, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **limits)
        for row in out[:, ids["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in row
            row = row[: row.index(tokenizer.eos_token_id)] if ended else row
            found.append((tokenizer.decode(row), not ended))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
