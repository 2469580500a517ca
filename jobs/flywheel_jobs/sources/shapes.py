"""From a row as others publish it to a record of ours: which columns are what, by name or by a user's map.

The shapes of GSM8K, MATH, Omni-MATH, DAPO-17k (verl's own rows) and Persona-Hub need no map. Tables say what is tried,
in order; a name may lead into a struct (`reward_model.ground_truth`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from flywheel_api.records.base import record_id
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_jobs.reading.final import truth

QUESTION = ("question", "problem", "prompt", "query", "input", "instruction")
ANSWER = (
    "answer", "final_answer", "reward_model.ground_truth", "ground_truth", "expected_answer", "solution",
    "answers", "answers.text", "target", "output", "response", "completion",
)  # fmt: skip
WORKED = frozenset({"solution"})  # texts that end in an answer, and are none themselves
IDS = ("id", "unique_id", "problem_id")
CONTEXT = ("context", "body", "passage")
OPTIONS = ("choices", "options")
TEXT = ("text", "persona", "input persona", "description")
MAX_ID = 200
NAMES = ("Ann", "Bob", "Cal", "Dee", "Eve", "Flo", "Gus", "Ida", "Jon", "Kim")
COLUMNS = frozenset(
    path.partition(".")[0]
    for path in (*QUESTION, *ANSWER, *IDS, *TEXT, *CONTEXT, *OPTIONS, "schema", "name", "trade", "thing")
)
"""Columns that any shape looks at; others write some of them in capitals."""


class WrongRow(ValueError):
    """What is wrong with a row, in words that name the column."""


def problem(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """What a Problem is made of. Raises WrongRow."""
    if row.get("schema") == Problem.schema_name():
        if not row.get("answer"):
            raise WrongRow("no answer: every problem of yours needs one")
        return dict(row)
    row = {**{str(name).lower(): value for name, value in row.items()}, **row}
    column, asked = _first(row, fields, "question", QUESTION)
    context = _context(_first(row, fields, "context", CONTEXT)[1])
    question = asked
    if column == "input" and isinstance(asked, str) and isinstance(row.get("instruction"), str):
        question = f"{row['instruction']}\n\n{asked}"
    listed = next((name for name in OPTIONS if row.get(name)), None)
    if listed and "question" not in fields:
        raise WrongRow(f"its choices are in {listed} and not in the question: write them into it, and name its column")
    if isinstance(asked, list):
        *before, last = _messages(asked, column)
        if last["role"] != "user":
            raise WrongRow(f"{column} ends with a message of {last['role']}, not of the user")
        context, question = [*context, *before], last["content"]
    if not isinstance(question, str) or not question.strip():
        raise WrongRow(f"no question: {column or 'none of ' + ', '.join(QUESTION)} holds a text")
    column, value = _first(row, fields, "answer", ANSWER)
    answer = _answer(value, column)
    made = {"question": question, "context": context, "answer": answer}
    return {"id": _id(row, fields) or record_id("problem", question, context, answer), **made}


def persona(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """What a Persona is made of: a text is enough; whoever has no name gets one. Raises WrongRow."""
    if row.get("schema") == Persona.schema_name():
        return dict(row)
    column, text = _first(row, fields, "text", TEXT)
    if not isinstance(text, str) or not text.strip():
        raise WrongRow(f"no text: {column or 'none of ' + ', '.join(TEXT)} holds one")
    lot = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
    made = {"name": NAMES[lot % len(NAMES)], "trade": "customer", "thing": "things"}
    for name in made:
        found = _first(row, fields, name, (name,))[1]
        made[name] = found if isinstance(found, str) and found.strip() else made[name]
    return {"id": _id(row, fields) or record_id("persona", text), "text": text, **made}


def _first(row: Mapping[str, Any], fields: Mapping[str, str], name: str, known: tuple[str, ...]) -> tuple[str, Any]:
    """The column that holds something for a name, and what; a column that the user names and is not there is wrong."""
    paths = (fields[name],) if name in fields else known
    for path in paths:
        value = _at(row, path)
        if value is not None and value != "" and not (isinstance(value, dict) and path not in fields.values()):
            return path, value
    if name in fields:
        raise WrongRow(f"column {fields[name]}, which fields.{name} names, is empty or not there")
    return "", None


def _at(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    inner = row.get(head)
    return _at(inner, rest) if rest and isinstance(inner, dict) else None


def _id(row: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    """The row's own id, where it has one that can be a key."""
    value = _first(row, fields, "id", IDS)[1]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = _number(value) if isinstance(value, int | float) else value.strip()
    return text if 0 < len(text) <= MAX_ID and text.isprintable() else None


def _context(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return _messages(value, "context")


def _messages(value: Any, column: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise WrongRow(f"{column} is a {type(value).__name__}, no list of messages")
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            raise WrongRow(f"{column} holds something that is no message with role and content")
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _answer(value: Any, column: str) -> str:
    """The final answer as text. Raises WrongRow where there is none, or no single one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.startswith('["') and value.endswith('"]') and '", "' not in value:
        value = value[2:-2]
    if isinstance(value, date):
        value = str(value)
    if isinstance(value, bytes):
        raise WrongRow(f"{column} holds bytes, no text")
    if isinstance(value, list | dict):
        raise WrongRow(f"{column} holds a {'list' if isinstance(value, list) else 'struct'}, no single answer")
    if isinstance(value, bool):
        value = str(value).lower()
    text = value if isinstance(value, str) else "" if value is None else _number(value)
    text = text.strip()
    answer = truth(text).strip()
    if column in WORKED and answer == text:
        raise WrongRow(f"{column} ends in no answer: it has neither #### nor \\boxed{{}}")
    if not answer:
        raise WrongRow(f"no answer: {column or 'none of ' + ', '.join(ANSWER)} holds one")
    return answer


def _number(value: float | Decimal) -> str:
    """A number as people write it: 72.0 is 72."""
    text = format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
