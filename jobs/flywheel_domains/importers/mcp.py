"""The answer of an MCP server's `tools/list` as a draft: names, descriptions and schemas; what tools do is TODO.

The server's hints are not trusted: they choose which TODO stands there, and nothing runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel_domains.importers.arguments import arguments
from flywheel_domains.importers.draft import Draft, ImportFault, read, todo


def from_mcp(source: Path) -> Draft:
    """Reads a JSON file: the whole JSON-RPC answer, its `result`, or the list itself. Raises ImportFault."""
    tools = _listed(source)
    draft = Draft(name=_name(source.stem))
    for tool in tools:
        _take(draft, tool, source)
    draft.views["thing"] = {"of": "things", "show": [todo("the columns that an answer shows")]}
    return draft


def _listed(source: Path) -> list[Any]:
    try:
        found = json.loads(read(source))
    except json.JSONDecodeError as problem:
        raise ImportFault(f"{source}:{problem.lineno}: not JSON: {problem.msg}") from problem
    for key in ("result", "tools"):
        found = found.get(key, found) if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not found:
        raise ImportFault(f"{source}: no tools: expected the answer of tools/list, {{'tools': [...]}}")
    return found


def _take(draft: Draft, tool: Any, source: Path) -> None:
    if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
        raise ImportFault(f"{source}: a tool without a name: {str(tool)[:80]}")
    name, hints = _name(tool["name"]), tool.get("annotations") or {}
    if name in draft.tools:
        raise ImportFault(f"{source}: two tools are called {name}")
    if name != tool["name"]:
        draft.notes.append(f"{tool['name']} is called {name} here")
    about = str(tool.get("description") or tool.get("title") or todo("what it does, without any rule"))
    head = {"about": " ".join(about.split()), "args": arguments(tool.get("inputSchema"))}
    if hints.get("readOnlyHint") is True:
        draft.tools[name] = {"read": {"all": "things", "where": todo("which rows"), "show": "thing"}, **head}
        return
    repeat = "same" if hints.get("idempotentHint") is True else "again"
    draft.tools[name] = {"write": True, **head, "repeat": repeat, "do": [{"set": todo("a row"), "to": {}}]}
    # MCP's own defaults are the bad case: a tool that says nothing may destroy, and reaches the outside
    if hints.get("destructiveHint", True) is not False and hints.get("openWorldHint", True) is not False:
        draft.notes.append(f"{name} may destroy things outside: it must never be played live")


def _name(text: str) -> str:
    name = re.sub(r"\W+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"t_{name}"
