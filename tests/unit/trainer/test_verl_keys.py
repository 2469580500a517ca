"""The committed list of verl's keys against the installed verl (ML environment only), and its collector's parts."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from flywheel_jobs.trainer.verl_keys import collect, hint_kind, kind_by_both, kind_of, walk


def test_the_committed_list_is_that_of_the_installed_verl() -> None:
    pytest.importorskip("verl", reason="needs the ML environment")
    committed = json.loads((resources.files("flywheel_api") / "verl_keys.json").read_text())
    assert collect() == committed, "run: python -m flywheel_jobs.trainer.verl_keys operator/flywheel_api/verl_keys.json"


def test_leaves() -> None:
    assert dict(walk({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_kinds() -> None:
    values = [True, 1, 1.5, "x", [1], {}, None, "${oc.select:a,1}"]
    assert [kind_of(v) for v in values] == ["bool", "int", "float", "str", "list", "dict", "any", "any"]


def test_hints() -> None:
    hints = [bool, int | None, list[str], dict[str, int], float | int, str | None, object]
    assert [hint_kind(h) for h in hints] == ["bool", "int", "list", "dict", "any", "str", "any"]


def test_a_whole_default_of_a_number_is_no_integer() -> None:
    pairs = [("int", "float"), ("int", "int"), ("int", None), ("any", "str"), ("any", None), ("float", "any")]
    assert [kind_by_both(*pair) for pair in pairs] == ["float", "int", "int", "str", "any", "float"]
