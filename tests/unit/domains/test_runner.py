"""Code of a domain runs in a cage: what it does wrong is a typed error that names the tool."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flywheel_domains import patience, runner
from flywheel_domains.cage import Reached, Watch
from flywheel_domains.child import HEAD
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ToolFault
from flywheel_domains.expr import Cell, Trace, compile_expr
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.patience import Limit
from flywheel_domains.session import Session
from flywheel_domains.tools import call
from flywheel_domains.unknown import UNKNOWN
from unit.domains.small import SHED, changed, write

CODE = """
import enum
from datetime import timedelta


def cheap(db, now, most):
    found = [b for b in db.rows("bikes") if b.fee <= most]
    return [{"bike": b, "soon": now + timedelta(hours=1)} for b in found][:2]


def raises(db, now, most):
    return [].pop()


def loops(db, now, most):
    while True:
        most += 1


def much(db, now, most):
    return "x" * 10_000_000


def eats(db, now, most):
    return len([0] * 10**9)


def keeps(db, now, words):
    words.append("more")
    return words


def sock(db, now, most):
    try:
        enum.sys.modules["importlib"].import_module("socket").socket()
    except Exception:
        return "nothing happened"


def shell(db, now, most):
    return enum.sys.modules["os"].system("true")


def counts(db, now, most):
    counts.calls = 1 if most else 2
    enum.calls = enum.calls + 1 if "calls" in dir(enum) else 0
    return enum.calls


def free(db, now, bike_id):
    bike = db.row("bikes", bike_id)
    if bike.state == "free":
        return {"error": "is_free", "fee": bike.fee}
    loan = db.add("loans", person=db.rows("people")[0], bike=bike, due=now)
    db.set(bike, state="free")
    db.drop(loan)
    return {"bike": bike}


def half(db, now, bike_id):
    db.set(db.row("bikes", bike_id), fee="much")


def sneaks(db, now, most):
    db.set(db.rows("bikes")[0], fee=1)


def environment(db, now, most):
    return sorted(enum.sys.modules["os"].environ)


def dearer(db, now, bike):
    return db.row("bikes", bike).fee + 100
"""
READS = ("cheap", "raises", "loops", "much", "eats", "sock", "shell", "counts", "sneaks", "environment")


def tools() -> str:
    lines = [
        f"  {name}: {{code: tools.{name}, kind: read, view: bike, about: It tries., args: {{most: {{type: int}}}}}}\n"
        for name in READS
    ]
    lines.append("  keeps: {code: tools.keeps, kind: read, about: It tries., args: {words: {list: {type: string}}}}\n")
    for name in ("free", "half"):
        args = "{bike_id: {ref: bikes}}"
        lines.append(
            f"  {name}: {{code: tools.{name}, kind: write, repeat: again, view: bike, about: Get it., args: {args}}}\n"
        )
    return "".join(lines)


@pytest.fixture(scope="module")
def shed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    text = changed("rules:\n", tools() + "rules:\n")
    text = changed("lookups:\n", "lookups:\n  dearer: {code: tools.dearer, args: [bike]}\n", text)
    domain = load(write(tmp_path_factory.mktemp("shed"), text, CODE))
    yield domain
    runner.runner_of(domain).close()


def ask(shed: Domain, tool: str, **args: Any) -> Any:
    return call(shed, build_world(shed, 1), Session(), tool, args)


def test_rows_are_shown_by_the_view_and_so_revealed(shed: Domain) -> None:
    found = ask(shed, "cheap", most=300)
    assert found.result[0]["bike"]["fee"] == 300
    assert Cell("bikes", found.result[0]["bike"]["id"], "fee") in found.revealed


@pytest.mark.parametrize(
    ("tool", "kind", "says"),
    [
        ("raises", "raised", "IndexError: pop from empty list (tools.py:12)"),
        ("much", "output", "10000"),
        ("eats", "memory", "memory"),
        ("sock", "network", "socket"),
        ("shell", "outside", "os.system"),
        ("counts", "unequal", "twice"),
        ("sneaks", "raised", "TypeError: a read changes nothing"),
    ],
)
def test_what_no_tool_may_do(shed: Domain, tool: str, kind: str, says: str) -> None:
    with pytest.raises(ToolFault, match=rf"^{tool}: {kind}: ") as fault:
        ask(shed, tool, most=300)
    assert (fault.value.tool, fault.value.kind) == (tool, kind)
    assert says in fault.value.message


def test_arguments_stay_as_they_were(shed: Domain) -> None:
    with pytest.raises(ToolFault, match=r"^keeps: inputs: "):
        ask(shed, "keeps", words=["a"])


def test_an_endless_loop_is_ended_and_the_next_call_works(shed: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CALL", Limit(cpu=0.1, clock=600))
    with pytest.raises(ToolFault, match=r"^loops: timeout: it ran for more than 0.1 s of processor time"):
        ask(shed, "loops", most=300)
    monkeypatch.undo()
    assert ask(shed, "cheap", most=299).result == []


@pytest.fixture
def silent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not answer until it is written to, and needs no processor meanwhile."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_busy_machine_ends_nobody(silent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded node a second of work takes many: a process that is late and has used little is waited for."""
    looks: list[int] = []

    def late(pid: int) -> float:
        looks.append(pid)
        if len(looks) == 3:
            assert silent.stdin is not None
            silent.stdin.write(HEAD.pack(2) + b"{}")
            silent.stdin.flush()
        return 0.01 * len(looks)

    monkeypatch.setattr(patience, "cpu_of", late)
    monkeypatch.setattr(runner, "TICK_S", 0.01)
    assert runner._take(silent, Limit(cpu=0.1, clock=60)) == b"{}" and len(looks) >= 3


@pytest.mark.parametrize(("limit", "says"), [(Limit(60, 1), "more than 1 s$"), (Limit(-1, 60), "processor time")])
def test_what_neither_answers_nor_works_is_ended_by_the_clock(
    silent: subprocess.Popen[bytes], limit: Limit, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TICK_S", 0.01)
    with pytest.raises(TimeoutError, match=says):
        runner._take(silent, limit)


def test_the_kernel_says_what_a_process_has_used() -> None:
    assert abs(patience.cpu_of(os.getpid()) - time.process_time()) < 0.5
    assert patience.cpu_of(2**30) == 0.0, "it is gone"


def test_a_process_that_does_not_start_in_its_time_is_a_timeout_of_the_tool(
    shed: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.runner_of(shed).close()
    monkeypatch.setattr(runner, "START", Limit(cpu=0.0, clock=60))
    monkeypatch.setattr(runner, "TICK_S", 0.01)
    with pytest.raises(ToolFault, match=r"^cheap: timeout: the process of tools.py took more than 0 s of processor"):
        ask(shed, "cheap", most=298)


def test_after_an_interruption_no_question_gets_the_answer_of_another(
    shed: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ask(shed, "cheap", most=301).result
    runner.runner_of(shed).kept.clear()

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runner, "_take", interrupted)
        ask(shed, "cheap", most=1)
    assert ask(shed, "cheap", most=301).result == right


def test_nothing_of_our_environment_is_there(shed: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for tools")
    runner.runner_of(shed).close()
    assert set(ask(shed, "environment", most=1).result) <= {"PATH", "PYTHONPATH", "PYTHONHASHSEED", "LC_CTYPE"}


def test_a_write_in_code_is_all_or_nothing(shed: Domain) -> None:
    world = build_world(shed, 1)
    lent = next(b for b in world.rows("bikes") if b.state == "lent")
    there = next(b for b in world.rows("bikes") if b.state == "free")
    done = ask(shed, "free", bike_id=lent.id)
    assert done.world.row("bikes", lent.id).state == "free"
    assert done.session.done[0].rows >= {("bikes", lent.id)}
    assert done.result == {"bike": {"id": lent.id, "state": "free", "fee": lent.fee}}
    refused = ask(shed, "free", bike_id=there.id)
    assert refused.answer == {"error": "is_free", "fee": there.fee}
    assert refused.world is world
    with pytest.raises(ToolFault, match=r"half: raised: ValueError: bikes.fee"):
        ask(shed, "half", bike_id=lent.id)


def test_a_helper_in_code_is_traced_and_knows_what_is_unknown(shed: Domain) -> None:
    world = build_world(shed, 1)
    bike = world.rows("bikes")[0]
    expr = compile_expr("dearer(k)")
    trace = Trace()
    assert expr.eval(world.view(trace).scope({"k": bike.id})) == bike.fee + 100
    assert trace == {Cell("bikes", bike.id, "fee")}
    assert expr.eval(world.view(known=frozenset(trace)).scope({"k": bike.id})) == bike.fee + 100
    assert expr.eval(world.view(known=frozenset()).scope({"k": bike.id})) is UNKNOWN
    assert expr.eval(world.view().scope({"k": UNKNOWN})) is UNKNOWN


def test_the_kernel_lets_nothing_out() -> None:
    script = """
import os, socket
from flywheel_domains.cage import filter_calls
if not filter_calls():
    print("no filter")
for reach in (socket.socket, lambda: open("/etc/hostname"), os.fork, lambda: os.kill(1, 0)):
    try:
        reach()
        print("reached")
    except OSError as error:
        print(error.errno)
"""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.split() == ["1"] * 4


def test_the_watch_is_silent_until_it_is_armed() -> None:
    watch = Watch()
    watch.hook("open", ("x",))
    watch.armed = True
    with pytest.raises(Reached):
        watch.hook("socket.connect", ())
    assert watch.reached[0][0] == "network"


def test_the_shed_is_a_domain(tmp_path: Path) -> None:
    assert load(write(tmp_path / "shed", SHED)).domain == "shed"
