"""The second half of docs/troubleshooting.md: how attempts end, from the tables of ends, signs and exit codes.

The first half, on the reasons of conditions, is written by hand above the mark.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from flywheel_api.causes import CAUSE_OF_EXIT, FINAL_CAUSES, FREE_RETRIES, Cause, ExitCode
from flywheel_api.ends import MEANINGS, End, Meaning
from flywheel_api.sign_table import SIGNS

PAGE = "docs/troubleshooting.md"
MARK = "<!-- From here on generated from operator/flywheel_api by `make generate`; change ends.py, not this. -->"
_WIDTH = 120
_INTRODUCTION = """
Each attempt has a class and a reason in `status.attempts`; conditions and Events show them as `App/OOMKilled`. Evidence
is believed in this order: what our own container told, how it was killed, the pod's conditions, then what KubeRay
infers. Containers that are not Flywheel's are no evidence. Reasons that are not below are words of Kubernetes, KubeRay
(`PreemptionByScheduler`, `SubmissionFailed`), `ExitCode<n>`, or the name of an exception of the program.
"""
_CLASSES: dict[Cause, str] = {
    Cause.APP: "the program, its sizes, or its image",
    Cause.VALIDATION: "an input that no attempt can change",
    Cause.INFRA: "hardware, network, or the cluster",
    Cause.PREEMPTED: "the node was wanted back",
    Cause.CAPACITY: "there were not the nodes",
    Cause.STALLED: "nothing moved",
    Cause.CANCELLED: "a person ended it",
    Cause.ENDPOINT: "a model's endpoint stayed away",
    Cause.BUDGET: "a limit of the budget or of time",
    Cause.SUPERSEDED: "another incarnation was there first",
}


def page(written: str) -> str:
    """The whole page: what stands above the mark, and the tables."""
    head = written.partition(MARK)[0].rstrip()
    return "\n".join([head, "", MARK, "", *_tables()]).rstrip() + "\n"


def write_troubleshooting(root: Path) -> list[Path]:
    """Writes the page below `root`; its hand-written half is the repository's."""
    written = (Path(__file__).resolve().parents[2] / PAGE).read_text()
    path = root / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(written))
    return [path]


def _tables() -> Iterator[str]:
    yield "## How an attempt ended\n"
    yield from _wrapped(_INTRODUCTION)
    yield "\n| class | means | tried again |\n|---|---|---|"
    for cause, means in _CLASSES.items():
        yield f"| {cause.value} | {means} | {_again(cause)} |"
    yield "\n| exit code of our containers | class |\n|---|---|"
    for code, cause in CAUSE_OF_EXIT.items():
        if code != ExitCode.OK:
            yield f"| {int(code)} ({ExitCode(code).name}) | {cause.value} |"
    for cause in _CLASSES:
        ends = [(end, meaning) for end, meaning in MEANINGS.items() if meaning.cause is cause]
        if ends:
            yield f"\n## Ended by {cause.value}: {_CLASSES[cause]}"
        for end, meaning in ends:
            yield f"\n### {end}"
            yield from _wrapped(_text(end, meaning))


def _again(cause: Cause) -> str:
    if cause in FINAL_CAUSES:
        return "no"
    return "yes; uses up no retry" if cause in FREE_RETRIES else "yes; uses up one of `retries.limit`"


def _text(end: End, meaning: Meaning) -> str:
    others = [sign.advice for sign in SIGNS if sign.end is end and sign.advice]
    sources = dict.fromkeys(s for sign in SIGNS if sign.end is end for s in sign.source.split(", ") if "#" in s)
    said = [_sentence(meaning.text), meaning.more, *(f"Or: {_sentence(text, False)}" for text in others)]
    if sources:
        said.append(f"Reported in {', '.join(sources)}.")
    return " ".join(filter(None, said))


def _sentence(text: str, capital: bool = True) -> str:
    return f"{text[0].upper() if capital else text[0]}{text[1:]}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
