"""docs/troubleshooting.md: reasons of conditions, then how attempts end, all of it from tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from flywheel_api.causes import CAUSE_OF_EXIT, FINAL_CAUSES, FREE_RETRIES, Cause, ExitCode
from flywheel_api.drops import DROPS
from flywheel_api.ends import MEANINGS, End, Meaning
from flywheel_api.reasons import CHAPTERS, QUIET
from flywheel_api.sign_table import SIGNS

PAGE = "docs/troubleshooting.md"
_WIDTH = 120
_HEAD = """
# Troubleshooting, by the reason of a condition

<!-- Generated from operator/flywheel_api (reasons.py, ends.py, *_signs.py, drops.py) by `make generate`. -->

```
kubectl describe fwr <name>                       # conditions with messages, then Events in order
kubectl get fwr <name> -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}'
kubectl -n flywheel-system logs deployment/flywheel
```

Every condition's message names the next action. This page says more, by `reason`. A round that waits goes on by itself
once what it waits for is there: nothing needs to be restarted or applied again. `status.attempts` lists the last five
attempts with a class and a reason: see [how an attempt ended](#how-an-attempt-ended).
"""
_INTRODUCTION = """
Each attempt has a class and a reason in `status.attempts`; conditions and Events show them as `App/OOMKilled`. Evidence
is believed in this order: what our own container told, how it was killed, the pod's conditions, then what KubeRay
infers. Containers that are not Flywheel's are no evidence. Reasons that are not below are words of Kubernetes, KubeRay
(`PreemptionByScheduler`, `SubmissionFailed`), `ExitCode<n>`, or the name of an exception of the program.
EndpointUnavailable, DataNotFound, ModelNotFound and those of the store are above, among the reasons of conditions.
"""
_DROPPED = """
`status.stages[].dropped` counts items that a stage did not keep, by word; the log has those that it asked for or made.
A server that is busy or away costs no item: it is asked again.
"""
_CLASSES: dict[Cause, str] = {
    Cause.APP: "the program, its sizes, or its image",
    Cause.VALIDATION: "an input that no attempt can change",
    Cause.INFRA: "hardware, network, or the cluster",
    Cause.PREEMPTED: "the node was wanted back",
    Cause.CAPACITY: "there were not the nodes",
    Cause.STALLED: "nothing moved",
    Cause.CANCELLED: "a person ended it",
    Cause.ENDPOINT: "a model's endpoint stayed away, or refuses",
    Cause.BUDGET: "a limit of the budget or of time",
    Cause.SUPERSEDED: "another incarnation was there first",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD.strip(), *_conditions(), "", *_tables()]).rstrip() + "\n"


def write_troubleshooting(root: Path) -> list[Path]:
    """Writes the page below `root`."""
    path = root / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page())
    return [path]


def _conditions() -> Iterator[str]:
    yield ""
    yield from _wrapped(f"Reasons that need nobody are not listed: {', '.join(QUIET)}.")
    for chapter in CHAPTERS:
        yield f"\n## {chapter.title}"
        if chapter.text:
            yield from ("", *_wrapped(chapter.text))
        for reason, told in chapter.reasons.items():
            yield f"\n### {reason}"
            yield from _wrapped(told.happened)
            yield ""
            yield from _wrapped(f"**To do:** {told.do}")


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
    yield "\n## Why an item was dropped\n"
    yield from _wrapped(_DROPPED.strip())
    yield "\n| word | it was dropped because |\n|---|---|"
    yield from (f"| `{word}` | {meaning} |" for word, meaning in DROPS.items())


def _again(cause: Cause) -> str:
    if cause in FINAL_CAUSES:
        return "no"
    return "yes; uses up no retry" if cause in FREE_RETRIES else "yes; uses up one of `retries.limit`"


def _text(end: End, meaning: Meaning) -> str:
    others = dict.fromkeys(sign.advice for sign in SIGNS if sign.end is end and sign.advice)
    sources = dict.fromkeys(s for sign in SIGNS if sign.end is end for s in sign.source.split(", ") if "#" in s)
    said = [_sentence(meaning.text), meaning.more, *(f"Or: {_sentence(text, False)}" for text in others)]
    if sources:
        said.append(f"Reported in {', '.join(sources)}.")
    return " ".join(filter(None, said))


def _sentence(text: str, capital: bool = True) -> str:
    return f"{text[0].upper() if capital else text[0]}{text[1:]}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
