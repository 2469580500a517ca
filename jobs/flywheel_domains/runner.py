"""Code of a domain, run in a process of its own: without our environment, with limits on time, memory and output.

What comes back is JSON of bounded size, never a pickle: the process is not trusted. A function that raises, loops,
answers with too much, changes what it was given, reaches outside or answers differently the second time is a
`ToolFault`.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flywheel_domains
from flywheel_domains.child import HEAD, MOST_OUTPUT
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ToolFault, ToolFaultKind
from flywheel_domains.expr import Cell
from flywheel_domains.patience import TICK_S, Limit, Patience
from flywheel_domains.unknown import UNKNOWN, is_unknown
from flywheel_domains.values import plain
from flywheel_domains.world import Row, View

START = Limit(cpu=60, clock=900)
CALL = Limit(cpu=5, clock=120)
"""For the start of a process, or for building a world in it; and for one call, which is made twice."""
KEPT = 4_096
"""Answers that are kept: validating a branch asks the same of the same world again and again."""


class Answer:
    """What a function came to: its result with rows as ("$row") marks, the cells that it read, and what it wrote."""

    __slots__ = ("cells", "result", "writes")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.result = raw["result"]
        self.cells = frozenset(Cell(*cell) for cell in raw["cells"])
        self.writes = raw["writes"]


class Runner:
    """The process of one domain. It is started when it is first needed, and again after a fault that ended it."""

    def __init__(self, domain: Domain) -> None:
        if domain.folder is None:
            raise ValueError("a domain with code is loaded from its folder")
        self.domain, self.folder = domain, domain.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.turn = threading.Lock()  # one pipe: one question at a time
        self.kept: OrderedDict[tuple[str | None, ...], Answer] = OrderedDict()

    def run(self, tool: str, function: str, view: View, args: Mapping[str, Any], writes: bool = False) -> Answer:
        """Calls a function of tools.py over a view's tables. Raises ToolFault that names the tool."""
        given = pickle.dumps({key: _given(value) for key, value in args.items()})
        digest = view.digest
        key = (digest, plain(view.now), function, json.dumps(plain(dict(args)), sort_keys=True))
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        request = {
            "seed": view.base.seed,
            "patch": view.patch,
            "made": dict(getattr(view, "made", {})),
            "args": given,
            "now": view.now,
        }
        with self.turn:
            raw = self._ask(tool, pickle.dumps({**request, "function": function, "writes": writes}))
        if "fault" in raw:
            raise ToolFault(tool, raw["fault"], raw["message"])
        self.kept[key] = answer = Answer(raw)
        if len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        return answer

    def _ask(self, tool: str, request: bytes) -> dict[str, Any]:
        process = self.process or self._start(tool)
        assert process.stdin is not None
        try:
            process.stdin.write(HEAD.pack(len(request)) + request)
            process.stdin.flush()
            _take(process, START)  # the world is there
            raw = _take(process, CALL)
        except TimeoutError as error:
            self.close()
            raise ToolFault(tool, "timeout", f"it ran for {error}") from None
        except (OSError, EOFError) as error:
            code = self.close()
            kind: ToolFaultKind = "memory" if code == -signal.SIGKILL else "raised"
            raise ToolFault(tool, kind, f"its process ended ({code}): {error}") from None
        except BaseException:  # stopped in between, by a signal: the next question would get this one's answer
            self.close()
            raise
        found: dict[str, Any] = json.loads(raw)
        return found

    def _start(self, tool: str) -> subprocess.Popen[bytes]:
        roots = {str(Path(path).parent) for path in flywheel_domains.__path__} | _packages()
        environment = {"PYTHONPATH": os.pathsep.join(sorted(roots)), "PYTHONHASHSEED": "0", "PATH": os.defpath}
        command = [sys.executable, "-s", "-B", "-m", "flywheel_domains.child", str(self.folder.resolve())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/"
        )
        atexit.register(self.close)
        try:
            ready = json.loads(_take(self.process, START))
        except TimeoutError as error:
            self.close()
            raise ToolFault(tool, "timeout", f"the process of tools.py took {error} to start") from None
        except (OSError, EOFError, ValueError):
            ready = {}
        if not ready.get("ready"):
            code = self.close()
            raise ToolFault(tool, "raised", f"the process of tools.py did not start ({code})")
        return self.process

    def close(self) -> int | None:
        """Ends the process; how it ended."""
        process, self.process = self.process, None
        if process is None:
            return None
        if process.poll() is None:
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not sent to it any more
                    pass
        return process.wait()


def _take(process: subprocess.Popen[bytes], limit: Limit) -> bytes:
    """The next answer. Raises TimeoutError, EOFError, and OSError for one that is too large."""
    assert process.stdout is not None
    patience = Patience(process.pid, limit)
    size = HEAD.unpack(_read(process.stdout.fileno(), HEAD.size, patience))[0]
    if size > 64 * MOST_OUTPUT:
        raise OSError("an answer that is too large")
    return _read(process.stdout.fileno(), size, patience)


def _read(stream: int, size: int, patience: Patience) -> bytes:
    found = bytearray()
    while len(found) < size:
        if select.select([stream], [], [], TICK_S)[0]:
            more = os.read(stream, size - len(found))
            if not more:
                raise EOFError("no answer")
            found += more
        if len(found) < size:
            patience.look()
    return bytes(found)


def _packages() -> set[str]:
    """Where pydantic and yaml are."""
    import pydantic
    import yaml

    return {str(Path(module.__file__ or "").parents[1]) for module in (pydantic, yaml)}


def _given(value: Any) -> Any:
    """An argument as a function gets it: rows as ids, objects as dictionaries, dates as dates."""
    if isinstance(value, list | tuple):
        return [_given(member) for member in value]
    if isinstance(value, Row):
        return value.id
    if hasattr(value, "values") and not isinstance(value, Mapping):
        return {key: _given(member) for key, member in value.values.items()}
    return value


_RUNNERS: dict[str, Runner] = {}


def runner_of(domain: Domain) -> Runner:
    """The runner of a domain, one for all its worlds."""
    key = f"{domain.folder}\0{domain.digest}"
    if key not in _RUNNERS:
        _RUNNERS[key] = Runner(domain)
    return _RUNNERS[key]


def computed(view: View, name: str, function: str, args: Mapping[str, Any]) -> Any:
    """What a helper in code comes to, as an expression sees it: its cells are read, unknown ones make it unknown."""
    if is_unknown(list(args.values())):
        return UNKNOWN
    answer = runner_of(view.domain).run(name, function, view, args)
    if view.trace is not None:
        view.trace |= answer.cells
    if view.known is not None and not answer.cells <= view.known:
        return UNKNOWN
    return decoded(view, answer.result)


def decoded(view: View, value: Any) -> Any:
    """An answer with its rows as rows of the view."""
    if isinstance(value, dict):
        if set(value) == {"$row"}:
            return view.row(*value["$row"])
        return {key: decoded(view, member) for key, member in value.items()}
    return [decoded(view, member) for member in value] if isinstance(value, list) else value
