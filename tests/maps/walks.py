"""The ways that an event and a record take, as lists of functions; everything else is read from their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from maps.svg import FILL, GREY, INK, LINE, Drawing

ROOT = Path(__file__).resolve().parents[2]
WIDTH, ROW, TOP, LANE = 980, 46, 64, 74


@dataclass(frozen=True)
class Stop:
    """A function or class on the way: in which lane, and which (`module:Name.method`)."""

    lane: str
    where: str


OP = "flywheel_operator"
EVENT = (
    Stop("feed", f"{OP}.feed:Feed.see"),
    Stop("ports", f"{OP}.ports.cache:ReadCache.put"),
    Stop("queue", f"{OP}.queue:WorkQueue.add"),
    Stop("queue", f"{OP}.queue:WorkQueue.run"),
    Stop("reconcile", f"{OP}.reconcile:Reconciler.__call__"),
    Stop("observe", f"{OP}.observe.round:see_round"),
    Stop("ports", f"{OP}.ports.cache:ReadCache.list"),
    Stop("observe", f"{OP}.observe.attempts:Results.attempt"),
    Stop("plan", f"{OP}.plan.round:plan_round"),
    Stop("plan", f"{OP}.plan.stage:advance"),
    Stop("plan", f"{OP}.plan.attempt:stand"),
    Stop("render", f"{OP}.render.round:child"),
    Stop("execute", f"{OP}.execute:execute"),
    Stop("execute", f"{OP}.execute:write_status"),
)


JOBS = "flywheel_jobs"
RECORD = (
    Stop("stage", f"{JOBS}.stages.prepare:load_seeds"),
    Stop("stage", f"{JOBS}.stages.mine_reasoning:choose"),
    Stop("endpoint", f"{JOBS}.endpoints.llm:ChatClient.chat"),
    Stop("stage", f"{JOBS}.reasoning.bands:scored"),
    Stop("store", f"{JOBS}.harness.journal:Journal.flush"),
    Stop("stage", f"{JOBS}.reasoning.bands:Limits.banded"),
    Stop("store", f"{JOBS}.harness.context:StageContext.commit"),
    Stop("operator", f"{OP}.observe.attempts:verify"),
    Stop("stage", f"{JOBS}.reasoning.variants:candidate"),
    Stop("stage", f"{JOBS}.reasoning.labels:count_votes"),
    Stop("stage", f"{JOBS}.reasoning.filling:fill"),
    Stop("stage", f"{JOBS}.stages.package:reasoning_examples"),
    Stop("operator", f"{OP}.render.rayjob:ray_job"),
    Stop("trainer", f"{JOBS}.trainer.inputs:fetch_data"),
    Stop("trainer", f"{JOBS}.trainer.agent_loop:ScoredLoop.finish"),
    Stop("trainer", f"{JOBS}.trainer.trajectory:record"),
    Stop("store", f"{JOBS}.trainer.checkpoints:Checkpoints.commit"),
    Stop("trainer", f"{JOBS}.trainer.publish:merge"),
    Stop("stage", f"{JOBS}.evaluation.runner:evaluate"),
    Stop("stage", f"{JOBS}.evaluation.verdict:decide"),
    Stop("operator", f"{OP}.plan.results:taken_over"),
    Stop("stage", f"{JOBS}.reasoning.rollouts:failed_problems"),
)


def pictures() -> dict[str, str]:
    """Both walks by their files' names."""
    return {
        "event.svg": picture("Life of an event: one look at one object", EVENT),
        "record.svg": picture(
            "Life of a record: from a seed problem to a promoted model, and to the next round", RECORD
        ),
    }


def module_file(module: str) -> Path:
    """The file of a module of ours."""
    part = Path(*module.split("."))
    for folder in ("operator", "jobs"):
        for file in (ROOT / folder / part.with_suffix(".py"), ROOT / folder / part / "__init__.py"):
            if file.exists():
                return file
    raise LookupError(f"{module} is no module of ours: correct tests/maps/walks.py")


@cache
def definition(where: str) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef:
    """The definition that a stop names. LookupError when it is gone: the picture would lie."""
    module, _, name = where.partition(":")
    body: Sequence[ast.stmt] = ast.parse(module_file(module).read_text()).body
    node: ast.stmt | None = None
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        node = next((n for n in body if isinstance(n, kinds) and n.name == part), None)
        if node is None:
            raise LookupError(f"{where} is gone: correct tests/maps/walks.py")
        body = node.body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return node


def words(where: str) -> str:
    """The first sentence of its docstring."""
    text = " ".join((ast.get_docstring(definition(where)) or "").split("\n\n")[0].split())
    return re.split(r"[.;] ", text.replace("`", ""))[0].rstrip(".")


def answer(where: str) -> str:
    """What it hands on: its return annotation."""
    node = definition(where)
    if isinstance(node, ast.ClassDef) or node.returns is None:
        return ""
    told = ast.unparse(node.returns)
    return "" if told == "None" else told


def picture(title: str, stops: Sequence[Stop]) -> str:
    """One row for each stop; the line on the left shows in which room the walk is."""
    lanes = list(dict.fromkeys(stop.lane for stop in stops))
    drawing = Drawing(WIDTH)
    drawing.text(20, 24, title, 14, bold=True)
    places = {lane: 30 + i * LANE for i, lane in enumerate(lanes)}
    bottom = TOP + len(stops) * ROW
    for lane, x in places.items():
        drawing.text(x - 12, 48, lane, 10, GREY)
        drawing.line((x, 54), (x, bottom - 16), LINE, arrow=False)
    points = [(places[stop.lane], TOP + 12 + i * ROW) for i, stop in enumerate(stops)]
    for here, there in pairwise(points):
        drawing.line(here, there, INK, arrow=False)
    left = places[lanes[-1]] + 30
    for i, (stop, (x, y)) in enumerate(zip(stops, points, strict=True)):
        module, _, name = stop.where.partition(":")
        drawing.dot(x, y, FILL[lanes.index(stop.lane) % len(FILL)])
        tail = f"  →  {answer(stop.where)}" if answer(stop.where) else ""
        drawing.text(left, y, f"{i + 1}  {module.partition('.')[2]} · {name}{tail}", 12)
        drawing.text(left + 16, y + 15, words(stop.where), 11, GREY)
    return drawing.document()
