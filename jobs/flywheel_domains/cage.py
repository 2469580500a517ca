"""The cage in which a domain's code runs: a process that can compute, read its request and write its answer, no more.

Three layers. Limits of the kernel on memory, files and processes. An audit hook, which turns what the code reaches for
into a named fault. And where the kernel offers it (Linux on x86-64 and arm64), a filter of system calls after which
nothing can be opened, connected or started, whatever the code does to Python.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import struct
import sys
from typing import Any

MEMORY = 768 * 2**20
"""Bytes of address space, the interpreter included."""
_OUTSIDE = (
    "open",
    "os.",
    "shutil.",
    "subprocess.",
    "ctypes.",
    "import",
    "exec",
    "compile",
    "sys.",
    "code.",
    "gc.",
    "pty.",
)
_NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "ssl.", "_socket.", "asyncio.")
_FREE = ("sys._getframe", "object.__getattr__", "object.__setattr__", "sys.excepthook", "sys.unraisablehook")


class Reached(Exception):
    """The code reached for what no tool may use."""


class Watch:
    """Notes what the running code reaches for, even if it catches the exception."""

    def __init__(self) -> None:
        self.armed = False
        self.reached: list[tuple[str, str]] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook: silent while our own code runs."""
        if not self.armed or event in _FREE:
            return
        what = f"{args[0]}." if event == "import" and args else event
        kind = "network" if what.startswith(_NETWORK) else "outside" if event.startswith(_OUTSIDE) else ""
        if kind:
            self.reached.append((kind, f"it reached for {event} {args[0] if args else ''}".strip()[:200]))
            raise Reached(event)


def close_cage(watch: Watch) -> bool:
    """Limits, hook and filter, in this order; there is no way back. False if the kernel offers no filter."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    filtered = filter_calls()
    sys.addaudithook(watch.hook)
    return filtered


# ---- the filter of system calls -----------------------------------------------------------------------------------

_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# what an interpreter needs to compute and to talk through pipes that are open
_CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "readv": 19, "writev": 20,
        "sched_yield": 24, "mremap": 25, "madvise": 28, "getpid": 39, "exit": 60, "sigaltstack": 131, "gettid": 186,
        "futex": 202, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318, "rseq": 334,
    },
    "aarch64": {
        "ioctl": 29, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "ppoll": 73,
        "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "clock_gettime": 113, "clock_nanosleep": 115,
        "sched_yield": 124, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "getpid": 172, "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
        "madvise": 233, "getrandom": 278, "rseq": 293,
    },
}  # fmt: skip
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _EPERM, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """Kill another architecture's calls, allow the listed ones, answer EPERM to the rest."""
    numbers = sorted(_CALLS[machine].values())
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHES[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for index, number in enumerate(numbers):
        steps.append((_EQUAL, len(numbers) - index, 0, number))
    return [*steps, (_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def filter_calls() -> bool:
    """Lets only the listed system calls through from now on. False where that is not to be had."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _CALLS:
        return False
    steps = _program(machine)
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(raw))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)
