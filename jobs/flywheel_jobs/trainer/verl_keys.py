"""Writes `flywheel_api/verl_keys.json`: every key of the installed verl's configuration with its type.

Run in the ML environment after a change of verl's version:

    python -m flywheel_jobs.trainer.verl_keys operator/flywheel_api/verl_keys.json

`keys` are in verl's YAML; `addable` are fields of its dataclasses that the YAML leaves out (hydra takes them with
`++`); `open` are maps that take any key below them. Types: bool, int, float, str, list, dict, any (null in the YAML).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

_OPEN = ("ray_kwargs.ray_init",)  # passed to ray.init as it is
_SCALARS = {bool: "bool", int: "int", float: "float", str: "str"}


def main() -> int:
    """Writes the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    text = json.dumps(collect(), indent=0, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {text.count(chr(10))} lines")
    return 0


def collect() -> dict[str, Any]:
    """The description of verl's `ppo_trainer` configuration."""
    import verl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    folder = os.path.join(os.path.dirname(verl.__file__), "trainer", "config")
    with initialize_config_dir(folder, version_base=None):
        config = OmegaConf.to_container(compose("ppo_trainer"), resolve=False)
    resolved = _resolved(folder)
    assert isinstance(config, dict)
    keys: dict[str, str] = {}
    addable: dict[str, str] = {}
    opened = list(_OPEN)
    for path, value in walk(config):
        if path.rpartition(".")[2] == "_target_":
            parent = path.rpartition(".")[0]
            addable.update({f"{parent}.{name}": kind for name, kind in dataclass_fields(value).items()})
            continue
        keys[path] = kind_of(resolved.get(path, value))
        if value == {}:
            opened.append(path)
    keys = {path: kind_by_both(kind, addable.get(path)) for path, kind in keys.items()}
    addable = {k: v for k, v in addable.items() if k not in keys and not any(o.startswith(k + ".") for o in keys)}
    return {"verl": verl.__version__, "keys": keys, "addable": addable, "open": sorted(opened)}


def _resolved(folder: str) -> dict[str, Any]:
    """Values behind interpolations, where they can be computed."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(folder, version_base=None):
        config = compose("ppo_trainer")
    out: dict[str, Any] = {}
    for path, _ in walk(typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))):
        try:
            value = OmegaConf.select(config, path)
        except OmegaConfBaseException:
            continue
        out[path] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return out


def walk(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves (and empty maps) of a nested map as (dotted path, value)."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from walk(value, path + ".")
        else:
            yield path, value


def kind_of(value: Any) -> str:
    """The type's name of a default."""
    if value is None or (isinstance(value, str) and value.startswith("${")):
        return "any"
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, dict):
        return "dict"
    return _SCALARS.get(type(value), "any")


def kind_by_both(default: str, hint: str | None) -> str:
    """The type by a default and by the dataclass's annotation: 0 is written for numbers that need not be whole."""
    unsure = default == "any" or (default, hint) == ("int", "float")
    return hint if hint is not None and unsure else default


def dataclass_fields(target: str) -> dict[str, str]:
    """Public fields of the dataclass that `_target_` names."""
    module, _, name = target.rpartition(".")
    cls = getattr(import_module(module), name)
    if not dataclasses.is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    return {f.name: hint_kind(hints.get(f.name)) for f in dataclasses.fields(cls) if not f.name.startswith("_")}


def hint_kind(hint: Any) -> str:
    """The type's name of an annotation; a union with None counts as its other member."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(hint) if m is not type(None)]
        return hint_kind(members[0]) if len(members) == 1 else "any"
    if origin in (list, tuple):
        return "list"
    if origin is dict or hint is dict:
        return "dict"
    return _SCALARS.get(hint, "any")


if __name__ == "__main__":
    raise SystemExit(main())
