"""Importers: what a tool list, a τ2-style folder and a general-agent task say is in the draft, the rest is TODO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_domains.cli import main
from flywheel_domains.importers import IMPORTERS, ImportFault
from flywheel_domains.importers.arguments import arguments

TOOLS = [
    {
        "name": "shelf.list",
        "title": "Shelves",
        "description": "Lists\n shelves.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "room": {"type": "string", "enum": ["north", "south"]},
                "since": {"type": "string", "format": "date"},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "size": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]},
            },
            "required": ["room"],
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "shelf.move",
        "inputSchema": {
            "type": "object",
            "properties": {
                "to": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
                "weight": {"type": "number"},
            },
            "required": ["to", "weight"],
        },
        "annotations": {"idempotentHint": True},
    },
]

MODELS = '''
from typing import Dict, List, Literal, Optional
from pydantic import BaseModel, Field
from bench.environment.db import DB

Grade = Literal["plain", "fine"]

class Sack(BaseModel):
    flour: str
    kilos: int

class Baker(BaseModel):
    baker_id: str
    name: str
    grade: Grade
    email: str
    hired: str
    ovens: Optional[int]
    tariff: float
    sacks: List[Sack]

class BakeryDB(DB):
    """All bakers."""
    bakers: Dict[str, Baker] = Field(description="by id")
'''

TOOLKIT = '''
from bench.environment.toolkit import ToolKitBase, ToolType, is_tool

class BakeryTools(ToolKitBase):
    db: BakeryDB

    @is_tool(ToolType.READ)
    def get_baker(self, baker_id: str) -> Baker:
        """Show a baker.

        Args:
            baker_id: The id.
        """
        return self.db.bakers[baker_id]

    @is_tool(ToolType.WRITE)
    def order(self, baker_id: str, sacks: List[Sack], grade: Grade = "plain") -> Baker:
        """Order sacks."""
        self.db.bakers[baker_id].sacks.extend(sacks)
        return self.db.bakers[baker_id]

    def helper(self) -> None: ...
'''

TASK = '''
from typing import List, Optional
from pydantic import BaseModel
from general_agent.tools import DB, Tools, tool

class Kiln(BaseModel):
    id: str
    name: str
    state: str = "cold"
    room: int = 4

class Pot(BaseModel):
    id: str
    kiln_id: str
    state: str = "raw"

class TaskDB(DB):
    kilns: List[Kiln] = []
    pots: List[Pot] = []
    target_pot: Optional[str] = None

class TaskTools(Tools):
    db: TaskDB

    @tool
    def list_kilns(self, state: str) -> list:
        """All kilns in a state."""
        return [k.model_dump() for k in self.db.kilns if k.state == state]

    @tool
    def get_kiln(self, kiln_id: str) -> dict:
        """One kiln."""
        for k in self.db.kilns:
            if k.id == kiln_id:
                return k.model_dump()
        raise ValueError(f"Kiln {kiln_id} not found")

    @tool
    def fire(self, pot_id: str, kiln_id: str) -> dict:
        """Fire a pot."""
        kiln = next((k for k in self.db.kilns if k.id == kiln_id), None)
        if kiln is None:
            raise ValueError(f"Kiln {kiln_id} not found")
        if kiln.room < 1 or kiln.state in ("broken", "full"):
            raise ValueError(f"Kiln {kiln_id} has no room")
        kiln.room -= 1
        kiln.state = "hot"
        pot = Pot(id=pot_id, kiln_id=kiln_id, state="fired")
        self.db.pots.append(pot)
        return pot.model_dump()

    @tool
    def cool_all(self) -> str:
        """Cool every kiln."""
        for k in self.db.kilns:
            k.state = "cold"
        return "ok"

def verify(db: TaskDB) -> float:
    return 1.0
'''


def _import(kind: str, source: Path, tmp_path: Path) -> dict[str, Any]:
    assert main(["import", kind, str(source), "--into", str(tmp_path / "out")]) == 0
    found: dict[str, Any] = yaml.safe_load((tmp_path / "out" / "domain.yaml").read_text())
    return found


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: {"tools": t}, lambda t: {"jsonrpc": "2.0", "result": {"tools": t}}]
)
def test_a_tool_list_gives_arguments_and_kind(tmp_path: Path, wrap: Any) -> None:
    source = tmp_path / "shelves.json"
    source.write_text(json.dumps(wrap(TOOLS)))
    tools = _import("mcp", source, tmp_path)["tools"]
    listed, moved = tools["shelf_list"], tools["shelf_move"]
    assert listed["about"] == "Lists shelves."
    assert listed["args"] == {
        "room": {"type": ["north", "south"]},
        "since": {"type": "date", "optional": True},
        "tags": {"list": {"type": "string"}, "max": 3, "optional": True},
        "size": {"type": "int", "min": 1, "max": 9, "optional": True},
    }
    assert "read" in listed and moved["write"] is True and moved["repeat"] == "same"
    assert moved["args"]["to"] == {"object": {"x": {"type": "int"}}}
    assert moved["args"]["weight"]["type"].startswith("TODO")


@pytest.mark.parametrize(
    ("schema", "args"),
    [
        (None, {"value": {"type": "TODO: the source gives no schema of its arguments"}}),
        ({"type": "object"}, {}),
        (
            {"properties": {"x-y": {"type": "string"}, "class": {"type": "integer"}}, "required": ["x-y", "class"]},
            {
                "x_y": {"type": "string", "about": "TODO: the source calls it x-y"},
                "class_": {"type": "int", "about": "TODO: the source calls it class"},
            },
        ),
        (
            {"properties": {"a-b": {"type": "string"}, "a_b": {"type": "string"}}, "required": ["a-b", "a_b"]},
            {
                "a_b": {"type": "string", "about": "TODO: the source calls it a-b"},
                "a_b_": {"type": "string", "about": "TODO: the source calls it a_b"},
            },
        ),
        (
            {"properties": {"note": {"anyOf": [{"type": "string"}, {"type": "null", "title": "None"}]}}},
            {"note": {"type": "string", "optional": True}},
        ),
        ({"properties": {"side": {"enum": ["left", None]}}}, {"side": {"type": ["left"], "optional": True}}),
    ],
)
def test_arguments_have_names_that_the_format_knows_and_types_that_are_known(schema: Any, args: dict[str, Any]) -> None:
    assert arguments(schema) == args


def test_a_tool_that_may_destroy_outside_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "shelves.json"
    source.write_text(json.dumps(TOOLS))
    _import("mcp", source, tmp_path)
    said = capsys.readouterr().out
    assert "shelf_move may destroy things outside" in said and "shelf_list may" not in said


def test_a_tau2_folder_gives_tables_children_tools_and_rule_stubs(tmp_path: Path) -> None:
    rows = {
        "bakers": {
            f"B{n:03d}": {
                "name": f"Ada {n}", "grade": "fine", "email": f"ada{n}@x.example", "hired": f"2020-01-{n + 10}",
                "ovens": n, "tariff": 1.5, "sacks": [{"flour": "rye", "kilos": n}],
            }
            for n in range(1, 5)
        }
    }  # fmt: skip
    policy = "# Policy\n\n- Only bakers with two ovens may order more than one sack.\n- Be kind.\n"
    files = {
        "data_model_dot_py": MODELS,
        "tools_dot_py": TOOLKIT,
        "db_dot_json": json.dumps(rows),
        "policy_dot_md": policy,
    }
    found = _import("tau2", _write(tmp_path / "bakery", **files), tmp_path)
    bakers, sacks = found["tables"]["bakers"]["columns"], found["tables"]["bakers_sacks"]
    assert bakers["id"] == {"gen": {"code": "B###"}}
    assert bakers["grade"] == {"type": ["plain", "fine"], "gen": {"weights": {"fine": 4}}}
    assert bakers["hired"] == {"type": "date", "gen": {"date": ["2020-01-11", "2020-01-14"]}}
    assert bakers["ovens"] == {"type": "int", "nullable": True, "gen": {"range": [1, 4]}}
    assert bakers["tariff"]["type"].startswith("TODO")
    assert sacks["per"] == {"bakers": [1, 2], "as": "baker"} and sacks["columns"]["kilos"]["gen"] == {"range": [1, 4]}
    assert "helper" not in found["tools"] and "read" in found["tools"]["get_baker"]
    order = found["tools"]["order"]
    assert order["write"] is True and order["args"]["baker_id"] == {"ref": "bakers"}
    assert order["args"]["sacks"] == {"list": {"object": {"flour": {"type": "string"}, "kilos": {"type": "int"}}}}
    assert order["args"]["grade"] == {"type": ["plain", "fine"], "optional": True}
    assert [rule["say"] for rule in found["rules"]] == ["Only bakers with two ovens may order more than one sack."]


def test_plain_methods_of_a_task_become_declarations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"kilns": [{"id": "K1", "name": "north", "state": "hot", "room": 2}], "pots": [], "target_pot": "P9"}
    files = {"tools_dot_py": TASK, "db_dot_json": json.dumps(rows), "instruction_dot_md": "Fire P9 in a hot kiln."}
    found = _import("general-agent", _write(tmp_path / "kilns", **files), tmp_path)
    tools = found["tools"]
    assert tools["list_kilns"]["read"] == {
        "all": "kilns", "where": "it.state == state", "sort": "it.id", "limit": 20, "show": "kiln",
    }  # fmt: skip
    assert tools["get_kiln"]["read"] == {"get": "kilns", "key": "kiln_id", "show": "kiln"}
    fire = tools["fire"]
    assert fire["let"] == {"kiln": "row('kilns', kiln_id)"}
    assert fire["refuse"] == [{"if": "kiln.room < 1 or kiln.state in ['broken', 'full']", "error": "kiln_has_no_room"}]
    assert fire["do"] == [
        {"set": "kiln", "to": {"room": "it.room - (1)"}},
        {"set": "kiln", "to": {"state": "'hot'"}},
        {"add": "pots", "row": {"id": "pot_id", "kiln_id": "kiln_id", "state": "'fired'"}},
    ]
    assert tools["cool_all"]["do"].startswith("TODO")
    assert "def cool_all" in (tmp_path / "out" / "original" / "tools.py").read_text()
    assert "target_pot" not in found["tables"]
    assert "verify is not taken over" in capsys.readouterr().out


@pytest.mark.parametrize("kind", sorted(IMPORTERS))
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[1]", '{"tools": [{"description": "x"}]}', "def f(:", "\x00", "class A: pass"]
)
def test_a_source_that_is_something_else_is_refused_with_its_name(kind: str, text: str, tmp_path: Path) -> None:
    source = tmp_path / "source.json" if kind == "mcp" else _write(tmp_path / "source", tools_dot_py=text)
    if kind == "mcp":
        source.write_text(text)
    with pytest.raises(ImportFault, match="source"):
        IMPORTERS[kind](source)


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "shelves.json"
    source.write_text(json.dumps(TOOLS))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "domain.yaml").write_text("mine")
    assert main(["import", "mcp", str(source), "--into", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "domain.yaml").read_text() == "mine"
    assert "not empty" in capsys.readouterr().err


def test_code_of_a_source_is_never_run(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    text = f"open({str(flag)!r}, 'w').close()\n" + TASK
    IMPORTERS["general-agent"](_write(tmp_path / "task", tools_dot_py=text))
    assert not flag.exists()
