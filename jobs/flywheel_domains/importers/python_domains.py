"""Two benchmarks' folders of Python as drafts: a τ2-style domain and a general-agent task.

Taken over: tables and generators from the models and rows, arguments, descriptions, and the tools that are plain.
Left as TODO: rules (the policy is prose), wishes, and tools that only code can do, whose text is kept beside.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel_domains.importers.arguments import table_of
from flywheel_domains.importers.draft import Draft, ImportFault, read, rules_of, todo
from flywheel_domains.importers.methods import translate
from flywheel_domains.importers.python_source import Method, Source, changes, parse
from flywheel_domains.importers.tables import held, tables

SCALARS = {"str": "string", "int": "int", "bool": "bool", "date": "date", "datetime": "datetime"}


def from_tau2(source: Path) -> Draft:
    """A folder with `data_model.py`, `tools.py`, `db.json` and `policy.md`."""
    code = [path for path in (source / "data_model.py", source / "tools.py") if path.exists()]
    if not code or not (source / "tools.py").exists():
        raise ImportFault(
            f"{source}: no tools.py: a τ2-style folder holds data_model.py, tools.py, db.json and policy.md"
        )
    draft = _draft(source, code)
    policy = source / "policy.md"
    draft.rules = rules_of(read(policy)) if policy.exists() else []
    if (source / "user_tools.py").exists():
        draft.notes.append("user_tools.py: tools of the user are not taken over")
    if (source / "tasks.json").exists():
        draft.files["original/tasks.json"] = read(source / "tasks.json")
        draft.notes.append(
            "tasks.json is kept in original/: its reference calls are examples to try, never a gold answer"
        )
    return draft


def from_general_agent(source: Path) -> Draft:
    """A task's folder with `tools.py` (models and tools), `db.json` and `instruction.md`."""
    path = source / "tools.py"
    if not path.exists():
        raise ImportFault(f"{source}: no tools.py: a general-agent task holds tools.py, db.json and instruction.md")
    draft = _draft(source, [path])
    if re.search(r"^def verify\b", read(path), re.M):
        draft.notes.append("verify is not taken over: what it asserts of every state belongs into `check` of a table")
    wish = source / "instruction.md"
    if wish.exists():
        draft.rules = []
        draft.files["original/instruction.md"] = read(wish)
        draft.notes.append("instruction.md holds wish and rules in one text: both are TODO")
    return draft


def _draft(folder: Path, code: list[Path]) -> Draft:
    source = parse(code)
    database = source.database()
    if database is None:
        raise ImportFault(f"{code[0]}: no model whose base ends in DB")
    data = _rows(folder / "db.json")
    draft = Draft(name=re.sub(r"\W+", "_", folder.name.lower()), tables=tables(source, database, data))
    draft.views = {
        table.rstrip("s"): {"of": table, "show": list(spec["columns"])} for table, spec in draft.tables.items()
    }
    goals = [name for name in source.fields(database) if name not in draft.tables]
    if goals:
        draft.notes.append(f"not tables, and goals have no place in a world: {', '.join(goals)}")
    views = {view["of"]: name for name, view in draft.views.items()}
    for method in source.tools:
        draft.tools[method.name] = _tool(draft, source, method, views)
    return draft


def _rows(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(read(path))
    except json.JSONDecodeError as problem:
        raise ImportFault(f"{path}:{problem.lineno}: not JSON: {problem.msg}") from problem
    return found if isinstance(found, Mapping) else {}


def _tool(draft: Draft, source: Source, method: Method, views: Mapping[str, str]) -> dict[str, Any]:
    head = {"about": method.about or todo("what it does, without any rule"), "args": _args(draft, source, method)}
    plain = translate(method.node, views)
    writes = changes(method.node) if method.writes is None else method.writes
    if plain and bool(plain.get("write")) == writes:
        return {**{key: value for key, value in plain.items() if value not in ({}, [])}, **head}
    draft.files["original/tools.py"] = draft.files.get("original/tools.py", "") + ast.unparse(method.node) + "\n\n\n"
    kind = {
        "write": True,
        "do": todo("the change; its text is in original/tools.py"),
        "repeat": todo("same, again or refuse"),
    }
    return {**(kind if writes else {"read": todo("what it finds and shows; its text is in original/tools.py")}), **head}


def _args(draft: Draft, source: Source, method: Method) -> dict[str, Any]:
    given = {}
    for name, annotation in method.args.items():
        table = table_of(name, draft.tables)
        spec = {"ref": table} if table else _argument(source, annotation)
        given[name] = {**spec, "optional": True} if name in method.optional else spec
    return given


def _argument(source: Source, annotation: ast.expr | None) -> dict[str, Any]:
    if annotation is None:
        return {"type": todo("the source says nothing")}
    container, inner = held(source, annotation)
    inner = inner.partition(" |")[0]
    if container == "list":
        return {"list": _argument(source, ast.parse(inner, mode="eval").body)}
    if inner in source.models:
        return {"object": {name: _argument(source, kind) for name, kind in source.fields(inner).items()}}
    if inner.startswith("Literal["):
        return {"type": [value for value in ast.literal_eval(f"[{inner[8:-1]}]") if isinstance(value, str)]}
    return {"type": SCALARS.get(inner) or todo(f"the source says {inner}")}
