"""Scripted Teacher and Solver of the reasoning track: answers are computed, and known shares of them are bad.

The teacher mutates the typed problem of the request and renders it. Some variants are ill-posed (the solver's votes
then disagree), some have values that are held out, some re-skinnings lose a value, some answers are malformed until
they are asked for again: so that the checks behind have something to find, at rates that tests know.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import chain

from flywheel_jobs.reasoning import roles
from flywheel_jobs.seeds import numeracy
from flywheel_jobs.seeds.forms import Form
from flywheel_jobs.seeds.numeracy import FAMILIES, LEVELS, TRAIN_PEOPLE, Typed
from flywheel_standin.protocol import Answer, ChatRequest, Data

ILL_POSED_SHARE = 0.12
HELDOUT_SHARE = 0.05
LOST_VALUE_SHARE = 0.08
MALFORMED_SHARE = 0.05
SEARCHED = 20_000  # largest answer that counting finds

PERSONA_FRAMES = ("{name}, {thing}: {question}", "{thing} of {name}: {question}")
"""Close to the bare form: a 135M model cannot yet read a story (measured: exact 0.00, a bare number 0.03)."""

RELATED = {
    "add": ("sub", "chain"),
    "sub": ("linear", "sequence"),
    "mul": ("units", "percent"),
    "chain": ("mul", "count"),
    "linear": ("modular", "add"),
    "units": ("percent", "mul"),
    "percent": ("units", "modular"),
    "modular": ("sequence", "count"),
    "count": ("mul", "sequence"),
    "sequence": ("add", "units"),
}
"""Families that a problem is carried over to: from each of them all others are reached."""
UP, DOWN, ACROSS = ("raise-difficulty", "compose", "add-constraint"), "lower-difficulty", "swap-family"
INVERSE = {"add": "linear", "sub": "add", "mul": "linear", "sequence": "sub"}


def respond(request: ChatRequest) -> Answer | None:
    """An answer to a Teacher's or a Solver's request of the reasoning track; None for any other."""
    if request.system == roles.TEACHER_SYSTEM:
        return _teach(request)
    if request.system.startswith(roles.SOLVER_SYSTEM):  # the problem may bring instructions of its own
        return _solve(request)
    return None


# ---- teacher ---------------------------------------------------------------------------------------------------------
def _teach(request: ChatRequest) -> Answer:
    asked = [str(m.get("content") or "") for m in request.messages if m.get("role") == "user"]
    task = request.data
    if task is None:
        raise ValueError("a teacher's request needs its data as a JSON object")
    rng = request.rng() if len(asked) == 1 else random.Random(asked[0])
    if len(asked) == 1 and rng.random() < MALFORMED_SHARE:
        return Answer('Sure! Here is the problem: {"question": ')
    typed = _typed(task["problem"])
    if typed is None:
        return Answer.json({"question": f"{task['problem']['question']} (again)", "typed": None})
    if task["operator"] == roles.PERSONA:
        return _reskin(typed, task["persona"], rng)
    return _mutate(typed, task["operator"], rng)


def _typed(problem: Data) -> Typed | None:
    try:
        return Typed.parse(problem.get("typed"))
    except ValueError:
        return understand(str(problem["question"]))


def _mutate(typed: Typed, operator: str, rng: random.Random) -> Answer:
    if rng.random() < ILL_POSED_SHARE:
        return Answer.json({"question": f"{typed.values[0]}+ some number", "typed": None})
    new = mutated(typed, operator, rng)
    name, thing = rng.choice(TRAIN_PEOPLE)
    question = numeracy.render(new, rng.choice(new.form.train), name, thing)
    return Answer.json({"question": question, "typed": new.dump()})


def mutated(typed: Typed, operator: str, rng: random.Random) -> Typed:
    """The typed problem after an operator; the answer is recomputed from it, never carried over."""
    family, level = typed.family, typed.level
    if operator in UP:
        level = min(LEVELS, level + 1)
    elif operator == DOWN:
        level = max(1, level - 1)
    elif operator == ACROSS:
        family = rng.choice(RELATED[family])
    elif operator == "invert":
        family = INVERSE.get(family, family)
    side: numeracy.Split = "heldout" if rng.random() < HELDOUT_SHARE else "train"
    return numeracy.draw(rng, side, family, level)


def _reskin(typed: Typed, persona: Data, rng: random.Random) -> Answer:
    told = typed
    if rng.random() < LOST_VALUE_SHARE:
        told = replace(typed, values=(*typed.values[:-1], typed.values[-1] + 1))
    name, thing = str(persona["name"]), str(persona["thing"])
    wording = rng.choice(told.form.train)
    question = numeracy.render(told, wording, name, thing)
    if "{name}" not in wording:
        question = rng.choice(PERSONA_FRAMES).format(name=name, thing=thing, question=question)
    return Answer.json({"question": question, "typed": typed.dump()})


# ---- solver ----------------------------------------------------------------------------------------------------------
def _solve(request: ChatRequest) -> Answer:
    typed = understand(request.last_user)
    if typed is None:
        # nothing to compute: a guess, which differs from vote to vote
        return Answer(f"I take it to be <answer>{request.rng().randint(0, 99)}</answer>")
    method = (request.seed or 0) % 2
    value = typed.answer() if method == 0 else brute_force(typed)
    if value is None:
        return Answer("There is no integer answer. <answer>none</answer>")
    return Answer(f"Computed from {', '.join(map(str, typed.values))}. <answer>{value}</answer>")


def brute_force(typed: Typed) -> int | None:
    """The answer by trying one number after the other: a second method, independent of `Typed.answer`."""
    tried = chain(range(SEARCHED + 1), range(-1, -SEARCHED, -1))
    return next((x for x in tried if typed.form.holds(x, *typed.values)), None)


def understand(question: str) -> Typed | None:
    """The typed problem that a question of ours states, at the lowest level that asks so; None for any other text."""
    text = _FRAME.sub("", question.strip())
    for family, level, pattern, places in _PATTERNS:
        found = pattern.fullmatch(text)
        if found:
            values = [int(found[f"v{place}"]) for place in places]
            try:
                return Typed.parse({"family": family, "level": level, "values": values})
            except ValueError:
                return None
    return None


def _patterns() -> list[tuple[str, int, re.Pattern[str], range]]:
    asked: dict[str, tuple[str, int, Form]] = {}
    for family, levels in FAMILIES.items():
        for number, level in enumerate(levels, start=1):
            for wording in (*level.form.train, *level.form.heldout):
                asked.setdefault(wording, (family, number, level.form))
    return [
        (family, level, _pattern(wording), range(numeracy.arity(form)))
        for wording, (family, level, form) in asked.items()
    ]


def _pattern(wording: str) -> re.Pattern[str]:
    text = re.escape(wording)
    for index in range(4):
        text = text.replace(re.escape(f"{{{index}}}"), rf"(?P<v{index}>-?\d+)", 1)
    for word in ("name", "thing", "Thing"):
        text = text.replace(re.escape(f"{{{word}}}"), r"[A-Za-z]+")
    return re.compile(text)


_FRAME = re.compile(r"^([A-Z][a-z]+, [a-z]+|[a-z]+ of [A-Z][a-z]+): ")
_PATTERNS = _patterns()
