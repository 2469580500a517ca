"""DOMAIN=dir: the demo's round on a domain of the user's own, put into the store and named in the round."""

from __future__ import annotations

import base64
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from flywheel_domains.check import check

DECLARATION = "domain.yaml"
LARGEST = 96 << 10  # bytes of the packed folder as text: it travels in the environment of a Job
BUILTIN = "booking"  # the domain of the demo's own round, whose place a user's takes
SHOWN = 5  # findings that are told; `domain test` tells all
EPISODE = 3072  # tokens that a whole conversation adds to its prompt: some turns and what tools answer
RESPONSE = 512  # tokens of a rollout in training
_NAME = re.compile(r"^domain:\s*([a-z][a-z0-9_]*)\s*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Given:
    """A domain of the user's: its folder, its name in a round, and the folder as a packed text."""

    folder: Path
    name: str
    packed: str

    @property
    def key(self) -> str:
        """Where it goes in the store."""
        return f"domains/{self.name}.tgz"


def given(folder: str) -> Given | None:
    """The domain in a folder; None without one. Raises DemoError for a folder that holds none."""
    if not folder:
        return None
    path = Path(folder) / DECLARATION
    if not path.is_file():
        raise DemoError(f"DOMAIN={folder} has no {DECLARATION}: name the folder of a domain (docs/domains.md)")
    name = _NAME.search(path.read_text(encoding="utf-8"))
    if name is None:
        raise DemoError(f"{path} does not say its name: write `domain: name` on a line of its own")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
    packed = base64.b64encode(buffer.getvalue()).decode()
    if len(packed) > LARGEST:
        raise DemoError(
            f"DOMAIN={folder} is {len(packed) >> 10} KiB packed, more than {LARGEST >> 10}: put it into the store "
            "yourself and name it in a round (docs/domains.md)"
        )
    return Given(Path(folder), name[1].replace("_", "-"), packed)


def longest_prompt(own: Given) -> int:
    """Tokens of its longest prompt, estimated. Raises DemoError with what the tester finds: nothing is started then."""
    report = check(own.folder)
    if report.passed:
        return report.prompt_tokens
    first = "\n".join(finding.text() for finding in report.findings[:SHOWN])
    raise DemoError(
        f"DOMAIN={own.folder} has {len(report.findings)} findings; nothing was started.\n{first}\n"
        f'All of them, and what is asked: make domain DO="test {own.folder}"'
    )


def named_in(round_: dict[str, Any], name: str, source: str, prompt_tokens: int) -> None:
    """Puts a domain in the place of the demo's own: in the track and in the suites, with windows for its prompts.

    The demo's own prompts are a tenth as long: a server of that window would refuse each of these.
    """
    spec = round_["spec"]
    if spec.get("agentic") is None:
        raise DemoError("DOMAIN needs a round with an agentic track: leave ROUND out, or give one that has it")
    spec["agentic"]["domains"] = [{"name": name, "source": source}]
    for suite in spec["evaluation"]["suites"]:
        if suite["name"] == f"{BUILTIN}-heldout":
            suite["name"] = f"{name}-heldout"
    prompt = -(-prompt_tokens * 3 // 2 // 64) * 64  # by rule of thumb, and half as much again for its errors
    for endpoint in spec["endpoints"]:
        engine = endpoint.get("pool", {}).get("engine", {})
        if engine.get("maxModelLen", prompt + EPISODE) < prompt + EPISODE:
            engine["maxModelLen"] = prompt + EPISODE
    algorithm = spec["training"].setdefault("agentic", {}).setdefault("algorithm", {})
    for field, size in (("maxPromptTokens", prompt), ("maxResponseTokens", RESPONSE), ("microBatchSize", 1)):
        algorithm.setdefault(field, size)
