"""From a row as others publish it to a record of ours: which columns are what, by name or by a user's map.

The shapes of GSM8K, MATH, Omni-MATH, DAPO-17k (verl's own rows), chats (`messages`, ShareGPT) and Persona-Hub need no
map. Tables say what is tried, in order; a name may lead into a struct (`reward_model.ground_truth`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from flywheel_api.records.base import record_id
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_jobs.reading.final import truth
from flywheel_jobs.reading.jsontext import OURS, loads
from flywheel_jobs.reading.kinds import Kind, Value
from flywheel_jobs.reading.values import read

QUESTION = ("question", "problem", "prompt", "query", "input", "instruction")
CHATS = ("messages", "conversations", "conversation")  # whose last turn is the answer, where no column has one
ANSWER = (
    "answer", "final_answer", "reward_model.ground_truth", "ground_truth", "expected_answer", "solution",
    "answers", "answers.text", "target", "output", "response", "completion",
)  # fmt: skip
WORKED = frozenset({"solution", *CHATS})  # texts that end in an answer, and are none themselves
IDS = ("id", "unique_id", "problem_id")
CONTEXT = ("context", "body", "passage")
OPTIONS = ("choices", "options")
TEXT = ("text", "persona", "input persona", "description")
_ROLES = {"human": "user", "gpt": "assistant"}
MAX_ID = 200
NAMES = ("Ann", "Bob", "Cal", "Dee", "Eve", "Flo", "Gus", "Ida", "Jon", "Kim")
COLUMNS = frozenset(
    path.partition(".")[0]
    for path in (*QUESTION, *CHATS, *ANSWER, *IDS, *TEXT, *CONTEXT, *OPTIONS, "schema", "name", "trade", "thing")
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
    row = {**{str(name).strip().lower(): value for name, value in row.items()}, **row}
    column, asked = _first(row, fields, "question", (*QUESTION, *CHATS))
    asked = _unpacked(asked, column)
    reply = ""
    context = _context(_first(row, fields, "context", CONTEXT)[1])
    question = asked
    if column == "input" and isinstance(asked, str) and isinstance(row.get("instruction"), str):
        question = f"{row['instruction']}\n\n{asked}"
    listed = next((name for name in OPTIONS if row.get(name)), None)
    if listed and "question" not in fields:
        raise WrongRow(f"its choices are in {listed} and not in the question: write them into it, and name its column")
    if isinstance(asked, list):
        *before, last = _messages(asked, column)
        if column in CHATS and before and last["role"] == "assistant":
            reply = last["content"]
            *before, last = before
        if last["role"] != "user":
            raise WrongRow(f"{column} ends with a message of {last['role']}, not of the user")
        context, question = [*context, *before], last["content"]
    if not isinstance(question, str) or not question.strip():
        raise WrongRow(f"no question: {column or 'none of ' + ', '.join(QUESTION)} holds a text")
    told = column
    column, value = _first(row, fields, "answer", ANSWER)
    answer = _answer(reply, told) if reply and not column else _answer(value, column, "answer" in fields)
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
        missing = value is None or value == "" or value != value  # pandas writes NaN where there is nothing
        if not missing and not (isinstance(value, dict) and path not in fields.values()):
            return path, value
    if name in fields:
        raise WrongRow(f"column {fields[name]}, which fields.{name} names, is empty or not there")
    return "", None


def _at(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    inner = _unpacked(row.get(head), head)
    return _at(inner, rest) if rest and isinstance(inner, dict) else None


def _unpacked(value: Any, column: str) -> Any:
    """A list or an object that a column holds as a text of JSON, since CSV knows no other. Raises WrongRow."""
    text = value.strip() if isinstance(value, str) else ""
    if not text.startswith(("[{", '{"', "{'")):
        return value
    try:
        found = loads(text, OURS)
    except ValueError:
        if re.match(r"\[?\{'(?:role|content|from|value|ground_truth|style)'", text):
            raise WrongRow(f"{column} is written as Python prints it: write it as JSON") from None
        return value
    return found if isinstance(found, dict) or all(isinstance(entry, dict) for entry in found) else value


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
    return [_message(message, column) for message in value]


def _message(value: Any, column: str) -> dict[str, Any]:
    """A message in our form: also ShareGPT's `from` and `value`, and a content in parts, of text alone."""
    given = value if isinstance(value, dict) else {}
    role, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise WrongRow(f"{column} holds something that is no message with role and content")
    return {"role": _ROLES.get(role, role), "content": content}


def _answer(value: Any, column: str, named: bool = False) -> str:
    """The final answer as text; `named` says that the user named its column. Raises WrongRow where there is no one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.startswith('["') and value.endswith('"]') and '", "' not in value:
        value = value[2:-2]
    if isinstance(value, date):
        value = str(value).removesuffix(" 00:00:00")  # pandas knows days as their midnights
    if isinstance(value, bytes):
        raise WrongRow(f"{column} holds bytes, no text")
    if isinstance(value, list | dict):
        raise WrongRow(f"{column} holds a {'list' if isinstance(value, list) else 'struct'}, no single answer")
    if isinstance(value, bool):
        value = str(value).lower()
    text = value if isinstance(value, str) else "" if value is None else _number(value)
    text = text.strip()
    answer = truth(text).strip()
    if column in WORKED and answer == text and not named and not _is_value(text):
        raise WrongRow(f"{column} ends in no answer: it has neither #### nor \\boxed{{}}")
    if not answer:
        raise WrongRow(f"no answer: {column or 'none of ' + ', '.join(ANSWER)} holds one")
    return answer


def _is_value(text: str) -> bool:
    """Whether a text that should end in an answer is nothing but one, and no words."""
    return _holds_no_words(found := read(text)) and found.checkable


def _holds_no_words(value: Value) -> bool:
    return value.kind is not Kind.WORDS and all(map(_holds_no_words, value.parts))


def _number(value: float | Decimal) -> str:
    """A number as people write it: 72.0 is 72."""
    text = format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
