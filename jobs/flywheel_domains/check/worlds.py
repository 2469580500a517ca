"""Worlds: generators work, invariants hold from the beginning, and two processes make the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from flywheel_domains.behaviour import Behaviour
from flywheel_domains.check import sample
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.errors import DomainError, ExprError
from flywheel_domains.load import load
from flywheel_domains.patience import TICK_S, Limit, Patience
from flywheel_domains.world import broken

PATIENCE = Limit(cpu=60, clock=900)  # of the other process; it does what this one did in one or two seconds


def generators(subject: Subject) -> Iterator[Finding]:
    """A generator that raises, gives what the column does not hold, or rows against the table's own invariants."""
    try:
        worlds = subject.worlds
    except DomainError as error:
        for fault in error.faults:
            yield Finding("generators", fault.file, fault.line, fault.where, fault.message, fault.advice)
        return
    for world in worlds:
        view = world.view()
        for name, table in subject.domain.tables.items():
            try:
                wrong = broken(view, ((name, id) for id in view.ids(name))) if table.check else []
            except ExprError as error:
                wrong = [str(error)]
            for message in wrong[:1]:
                advice = "change the generators, or the invariant"
                yield subject.finding(
                    "generators", f"a new world breaks an invariant: {message}", advice, "tables", name, "check"
                )


def again(subject: Subject) -> Iterator[Finding]:
    """What differs between two runs: a set's order, a module's variable, a clock."""
    ours = digests(subject)
    command = [sys.executable, "-m", "flywheel_domains.check.worlds", str(subject.folder.resolve()), str(subject.seed)]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])
    env = {"PYTHONPATH": path, "PYTHONHASHSEED": "4711", "PATH": os.environ.get("PATH", "")}
    try:
        theirs = json.loads(_output(command, env) or "{}")
    except TimeoutError as error:
        yield subject.finding("again", f"the second run took {error}", "fewer rows, or less work in code", "tables")
        return
    for name, digest in ours.items():
        if theirs.get(name) != digest:
            message = f"{name} differs between two runs"
            advice = "nothing may depend on the order of a set, on a clock, or on what was run before"
            yield subject.finding("again", message, advice, *(name.split(".") if "." in name else ["tables"]))


def _output(command: list[str], env: dict[str, str]) -> str:
    """What a process writes; nothing where it fails. Raises TimeoutError, which says what it took."""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        patience = Patience(process.pid, PATIENCE)
        while True:
            try:
                said, _ = process.communicate(timeout=TICK_S)
                return said if process.returncode == 0 else ""
            except subprocess.TimeoutExpired:
                try:
                    patience.look()
                except TimeoutError:
                    process.kill()
                    raise


def digests(subject: Subject) -> dict[str, str]:
    """Digests by name of what a seed makes: worlds, and the first cases of each rule with their right ways."""
    found = {f"world {subject.seed + number}": world.digest for number, world in enumerate(subject.worlds)}
    for side, cases in subject.sample.sides.items():
        found[f"rules.{side.rule}"] = found.get(f"rules.{side.rule}", "") + "".join(map(_digest, cases[:1]))
    return found


def _digest(found: Behaviour) -> str:
    parts = [found.case.edits, found.endings, found.steps, sorted(found.proof), found.final.digest]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


if __name__ == "__main__":
    sample.PER_SIDE, sample.FREE = 1, 0  # the first case of each side is all that is compared
    print(json.dumps(digests(Subject(Path(sys.argv[1]), load(Path(sys.argv[1])), int(sys.argv[2])))))
