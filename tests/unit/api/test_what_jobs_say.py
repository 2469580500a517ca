"""Every word by which jobs end or drop an item stands in docs/troubleshooting.md with what it means."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from flywheel_api.conditions import Reason
from flywheel_api.drops import DROPS
from flywheel_api.ends import End
from flywheel_jobs.agentic import accept, distinct
from flywheel_jobs.endpoints.door import TABLE
from flywheel_jobs.endpoints.verdicts import Outcome
from flywheel_jobs.reasoning import truths

ROOT = Path(__file__).resolve().parents[3]
Words = Iterator[str]
DROPPED_BY = ("ItemDropped", "RequestRefused", "drop", "_dropped")  # calls whose first argument is the word
GIVEN_BY = {  # functions that give the word as what they return
    "reasoning/dedup.py": ("add", "reason"),
    "reasoning/labels.py": ("labelled",),
    "reasoning/truths.py": ("with_truth",),
    "agentic/distinct.py": ("_reason",),
}


@cache
def modules() -> dict[str, ast.Module]:
    paths = [*(ROOT / "jobs" / "flywheel_jobs").rglob("*.py"), *(ROOT / "operator" / "flywheel_store").rglob("*.py")]
    return {"/".join(path.parts[-2:]): ast.parse(path.read_text()) for path in paths}


@cache
def constants() -> dict[str, str]:
    """Names of the package that stand for one text, alone or in a tuple of them."""
    found: dict[str, str] = {}
    for tree in modules().values():
        for node in tree.body:
            if isinstance(node, ast.Assign):
                names, values = (n.elts if isinstance(n, ast.Tuple) else [n] for n in (node.targets[0], node.value))
                for name, value in zip(names, values, strict=False):
                    if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found[name.id] = value.value
    return found


def texts(node: ast.AST) -> Words:
    """The texts that an expression can be, as far as it is written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name):
        yield from filter(None, [constants().get(node.id)])
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.Tuple):
        yield from (text for inner in node.elts for text in texts(inner))


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def ends() -> Words:
    """Reasons that errors are raised with, and those that their classes have."""
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield from (text for word in node.keywords if word.arg == "reason" for text in texts(word.value))
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "default_reason":
                yield from texts(node.value)


def drops() -> Words:
    """Words that are raised, counted, returned, or stand in the door's table."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in DROPPED_BY and node.args:
                yield from texts(node.args[0])
            if isinstance(node, ast.Call) and called(node) == "ask" and len(node.args) > 3:
                yield from (f"invalid-{what}" for what in texts(node.args[3]))
            if isinstance(node, ast.keyword) and node.arg == "dropped":
                yield from texts(node.value)
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] in ("dropped", "outside"):
                yield from texts(node.slice)
            if isinstance(node, ast.Dict) and "dropped" in ast.unparse(node):
                yield from (text for key in node.keys if key for text in texts(key))
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "dropped":
                inner = [d for d in ast.walk(node.value) if isinstance(d, ast.Dict)]
                yield from (text for d in inner for key in d.keys if key for text in texts(key))
            if isinstance(node, ast.FunctionDef) and node.name in GIVEN_BY.get(path, ()):
                returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
                yield from (text for value in returned for text in texts(value) if text)
    yield from (row.word for row in TABLE if row.outcome in (Outcome.ITEM_REFUSED, Outcome.ITEM_FILTERED))
    yield from (truths.IN_QUESTION, distinct.NEAR, distinct.HELD_OUT, distinct.EARLIER, accept.NEVER_ENDED)
    yield from (word for word, _ in accept.REASONS.values())


def test_every_reason_of_an_ended_attempt_is_explained() -> None:
    found = {word for word in ends() if re.fullmatch(r"[A-Z][A-Za-z]+", word)}
    assert {"EndpointRefused", "TooFewItems", "ModelUnusable", "InfrastructureLost"} <= found
    assert found - {*map(str, End), *map(str, Reason)} == set()


def test_every_word_of_a_dropped_item_is_explained() -> None:
    found = set(drops())
    assert {"not-independent", "votes-disagree", "no-answer", "contaminated-values", "crashed", "held-out"} <= found
    assert found == DROPS.keys(), "and nothing is explained that is never said"
