"""DOMAIN=...: the demo's round on other domains: the user's own, put into the store, or built-in ones by name."""

from __future__ import annotations

import base64
import io
import re
import shlex
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flywheel_domains
from demo.errors import DemoError
from flywheel_api.common import BUILTIN_DOMAINS
from flywheel_domains.check import check

DECLARATION = "domain.yaml"
BUILTIN = Path(flywheel_domains.__file__).parent / "builtin"
LARGEST = 96 << 10  # bytes of a packed folder as text: it travels in the environment of a Job
REPLACED = "booking"  # the domain of the demo's own round, whose place the others take
SHOWN = 5  # findings that are told; `domain test` tells all
EPISODE = 3072  # tokens that a whole conversation adds to its prompt: some turns and what tools answer
# training of the demo's model on prompts ten times as long: a step of 12 rollouts takes minutes on two cores
SUITE = {"items": 16, "repeats": 2}
TRAINING = {"maxResponseTokens": 512, "microBatchSize": 1, "maxSteps": 2}
WALL_CLOCK = "4h"
_NAME = re.compile(r"^domain:\s*([a-z][a-z0-9_]*)\s*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Given:
    """A domain that the round is to be about: its folder, its name in a round, and the folder as a packed text.

    What is built in is not packed.
    """

    folder: Path
    name: str
    packed: str = ""

    @property
    def key(self) -> str:
        """Where it goes in the store."""
        return f"domains/{self.name}.tgz"


def given(wanted: str) -> tuple[Given, ...]:
    """The domains that DOMAIN names, with blanks between: folders, or names of built-in ones. Raises DemoError."""
    return tuple(_given(one) for one in shlex.split(wanted))


def _given(one: str) -> Given:
    folder = Path(one)
    path = folder / DECLARATION
    if not path.is_file() and one in BUILTIN_DOMAINS:
        return Given(BUILTIN / one, one)
    if not path.is_file():
        raise DemoError(
            f"DOMAIN={one} has no {DECLARATION}: name the folder of a domain (docs/domains.md), or a built-in one "
            f"({', '.join(BUILTIN_DOMAINS)})"
        )
    name = _NAME.search(path.read_text(encoding="utf-8"))
    if name is None:
        raise DemoError(f"{path} does not say its name: write `domain: name` on a line of its own")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
    packed = base64.b64encode(buffer.getvalue()).decode()
    if len(packed) > LARGEST:
        raise DemoError(
            f"DOMAIN={one} is {len(packed) >> 10} KiB packed, more than {LARGEST >> 10}: put it into the store "
            "yourself and name it in a round (docs/domains.md)"
        )
    return Given(folder, name[1].replace("_", "-"), packed)


def longest_prompt(domains: Iterable[Given]) -> int:
    """Tokens of their longest prompt, estimated; 0 without any.

    Raises DemoError with what the tester finds: nothing is started then.
    """
    return max((_longest_prompt(one) for one in domains), default=0)


def _longest_prompt(own: Given) -> int:
    report = check(own.folder)
    if report.passed:
        return report.prompt_tokens
    first = "\n".join(finding.text() for finding in report.findings[:SHOWN])
    raise DemoError(
        f"DOMAIN={own.folder} has {len(report.findings)} findings; nothing was started.\n{first}\n"
        f'All of them, and what is asked: make domain DO="test {own.folder}"'
    )


def named_in(round_: dict[str, Any], domains: Sequence[dict[str, str]], prompt_tokens: int) -> None:
    """Puts domains in the place of the demo's own: in the track and in the suites, with windows for their prompts.

    The demo's own prompts are a tenth as long: a server of that window would refuse each of these. They take longer
    too, so that no more are asked at once than are answered at once, and the round may take longer.
    """
    spec = round_["spec"]
    if spec.get("agentic") is None:
        raise DemoError("DOMAIN needs a round with an agentic track: leave ROUND out, or give one that has it")
    spec["agentic"]["domains"] = list(domains)
    own = [{"name": f"{d['name']}-heldout", **SUITE} for d in domains]
    spec["evaluation"]["suites"] = [
        named
        for suite in spec["evaluation"]["suites"]
        for named in ([{**suite, **one} for one in own] if suite["name"] == f"{REPLACED}-heldout" else [suite])
    ]
    prompt = -(-prompt_tokens * 3 // 2 // 64) * 64  # by rule of thumb, and half as much again for its errors
    for endpoint in spec["endpoints"]:
        engine = endpoint.get("pool", {}).get("engine", {})
        if engine.get("maxModelLen", prompt + EPISODE) < prompt + EPISODE:
            engine["maxModelLen"] = prompt + EPISODE
            endpoint.setdefault("concurrency", engine.get("maxNumSeqs", 16))
            endpoint.setdefault("timeout", "5m")
    algorithm = spec["training"].setdefault("agentic", {}).setdefault("algorithm", {})
    for field, size in {"maxPromptTokens": prompt, **TRAINING}.items():
        algorithm.setdefault(field, size)
    spec.setdefault("budget", {})["wallClock"] = WALL_CLOCK
