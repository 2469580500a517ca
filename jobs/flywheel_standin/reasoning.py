"""Scripted Teacher and Solver of the reasoning track: answers are computed, and known shares of them are bad.

The teacher mutates the typed problem of the request and renders it. Some variants are ill-posed (the solver's votes
then disagree), some re-skinnings lose a value, some answers are malformed until they are asked for again: so that
the checks behind have something to find, at rates that tests know.
"""

from __future__ import annotations

import random
import re

from flywheel_jobs.reasoning import roles
from flywheel_jobs.seeds import arithmetic
from flywheel_jobs.seeds.arithmetic import TEMPLATES, Typed
from flywheel_standin.protocol import Answer, ChatRequest, Data

ILL_POSED_SHARE = 0.12
LOST_VALUE_SHARE = 0.08
MALFORMED_SHARE = 0.05

PERSONA_FRAMES = {
    "add": (
        "{name}, {thing}: {0}+{1}",
        "{thing} of {name}: {0}+{1}",
        "{0}+{1} {thing}",
    ),
    "sub": ("{name}, {thing}: {0}-{1}", "{name} has {0} {thing} and loses {1}. {Thing}?"),
    "mul": ("{name} has {0} boxes of {1} {thing}. {Thing}?",),
    "chain-add": ("{name} gets {and} {thing}. {Thing}?",),
    "missing": ("{name} has {0} {thing}. How many more for {1}?",),
}
"""Sums stay close to the bare form: a 135M model cannot yet read a story (measured: exact 0.00, a bare number 0.03)."""


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
    template = rng.choice(sorted(TEMPLATES[new.family]["train"]))
    return Answer.json({"question": arithmetic.render(new, template), "typed": new.dump()})


def mutated(typed: Typed, operator: str, rng: random.Random) -> Typed:
    """The typed problem after an operator; the answer is recomputed from it, never carried over."""
    v, top = typed.values, max(9, *typed.values)
    match operator:
        case "lower-difficulty" if typed.family == "chain-add":
            return Typed("add", v[:2]) if len(v) == 3 else Typed("chain-add", v[:-1])
        case "raise-difficulty" | "compose" if typed.family in ("add", "chain-add") and len(v) < 6:
            return Typed("chain-add", (*v, rng.randint(1, 9)))
        case "invert" if typed.family == "add":
            return Typed("missing", (v[0], sum(v)))
        case "swap-family" if typed.family in ("add", "mul"):
            return Typed("sub", (max(v), min(v)))
        case "add-constraint" if typed.family == "add":
            return Typed("chain-mixed", (*v, rng.randint(1, sum(v))))
    difficulty = 1 if top <= 9 else 3
    return Typed(typed.family, arithmetic.draw_values(typed.family, difficulty, rng))


def _reskin(typed: Typed, persona: Data, rng: random.Random) -> Answer:
    frames = PERSONA_FRAMES.get(typed.family)
    if not frames:
        return Answer.json(
            {"question": f"{persona['name']} asks: {arithmetic.render(typed, _plain(typed))}", "typed": None}
        )
    values = list(typed.values)
    if rng.random() < LOST_VALUE_SHARE:
        values[-1] += 1
    names = {"name": persona["name"], "thing": persona["thing"], "Thing": str(persona["thing"]).capitalize()}
    frame = rng.choice(frames).replace("{and}", " and ".join(map(str, values)))
    return Answer.json({"question": frame.format(*values, **names), "typed": typed.dump()})


def _plain(typed: Typed) -> str:
    return next(iter(TEMPLATES[typed.family]["train"]))


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
    """The answer by counting or search: a second method, independent of `Typed.answer`."""
    v = typed.values
    if typed.family == "mul":
        return sum(v[0] for _ in range(v[1]))
    if typed.family == "linear":
        bound = abs(v[2]) + abs(v[1]) + 1
        return next((x for x in range(-bound, bound + 1) if v[0] * x + v[1] == v[2]), None)
    if typed.family == "missing":
        return next((x for x in range(-abs(v[1]), abs(v[1]) + abs(v[0]) + 1) if v[0] + x == v[1]), None)
    signs = {"sub": (1, -1), "chain-mixed": (1, 1, -1)}.get(typed.family, (1,) * len(v))
    total = 0
    for sign, value in zip(signs, v, strict=True):
        for _ in range(abs(value)):
            total += sign if value > 0 else -sign
    return total


def understand(question: str) -> Typed | None:
    """The typed problem that a question of ours states; None for any other text."""
    text = question.strip()
    for family, pattern in _PATTERNS:
        found = pattern.fullmatch(text)
        if found:
            return Typed(family, tuple(int(n) for n in re.findall(r"-?\d+", " ".join(found.groups()))))
    return None


def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    forms = [(family, form) for family, sides in TEMPLATES.items() for side in sides.values() for form in side.values()]
    forms += [(family, form) for family, frames in PERSONA_FRAMES.items() for form in frames]
    return [(family, _pattern(form)) for family, form in forms]


def _pattern(form: str) -> re.Pattern[str]:
    text = re.escape(form)
    for index in range(3):
        text = text.replace(re.escape(f"{{{index}}}"), r"(-?\d+)")
    text = text.replace(re.escape("{+}"), r"(\d+(?:\+\d+){2,})").replace(re.escape("{and}"), r"(\d+(?: and \d+){2,})")
    for word in ("name", "thing", "Thing"):
        text = text.replace(re.escape(f"{{{word}}}"), r"[A-Za-z]+")
    return re.compile(text)


_PATTERNS = _patterns()
