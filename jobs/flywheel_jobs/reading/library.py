"""math-verify, on sympy, for answers that our own rules cannot read: in a process of its own, with limits.

It is asked only about two answers with the same words, and its "equal" counts only where both sides were parsed whole
and also agree by value or structure: it calls `\\frac1{2004!}` and `\\frac1{2006!}`, `(1,2)` and `{1,2}` equal.
"""

from __future__ import annotations

import atexit
import json
import re
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Any

SECONDS = 1.0  # of CPU for one pair: what is equal must not depend on who else is busy
PATIENCE = 20.0  # seconds until an answer is given up, and for the start
START = 60.0
MAX_TEXT = 120  # characters
MEMORY = 2 << 30  # bytes of address space
_REACH = re.compile(  # what it can do and our rules cannot; junk of a collapsed policy must not reach it
    r"\\(?:i?int|oint|sum|prod|lim|gcd|lcm|mathbb|setminus|cap|bmod|begin|det|max|min|partial|operatorname|Gamma)(?![a-zA-Z])"
    r"|\\frac\s*\{d"
)
_NEVER = re.compile(r"\\(?:ldots|cdots|dots|approx|sim|pm|mp|input|include|write|def)(?![a-zA-Z])|\.\.\.|≈")
_WORDS = re.compile(r"(?<!\\)(?<!\{)\b[^\W\d_]{3,}")  # the name of an environment is none
_CHILD = "import sys; sys.path[:] = {path!r}; from flywheel_jobs.reading.library import serve; serve()"


@lru_cache(maxsize=4096)
def equal(one: str, other: str) -> bool:
    """Whether the library finds two folded answers equal, and can be believed. False whenever anything goes wrong."""
    both = f"{one}\n{other}"
    if not _REACH.search(both) or _NEVER.search(both) or max(len(one), len(other)) > MAX_TEXT:
        return False
    return sorted(_WORDS.findall(one)) == sorted(_WORDS.findall(other)) and _LIBRARY.ask(one, other)


class Library:
    """The process: started when first asked, again after it was ended for taking too long."""

    def __init__(self, child: str = _CHILD, patience: float = PATIENCE, start: float = START) -> None:
        self._child, self._patience, self._starting = child, patience, start
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def ask(self, one: str, other: str) -> bool:
        """One question. Thread-safe."""
        with self._lock:
            answer = self._exchange(json.dumps([one, other])) or self._exchange(json.dumps([one, other]))
            return answer == "true"

    def _exchange(self, line: str) -> str:
        """The answer; "late" after a question that took too long, empty where the process was gone."""
        patience = self._patience
        if self._process is None:
            patience += self._starting
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._child.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        answer = ""
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], patience)
            answer = self._process.stdout.readline().strip() if ready else "late"
        except OSError:
            pass
        except BaseException:  # stopped in between, by a signal: the next question would get this one's answer
            self.close()
            raise
        if answer not in ("true", "false"):
            self.close()
        return answer

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()


_LIBRARY = Library()
atexit.register(_LIBRARY.close)


# ---- in the process --------------------------------------------------------------------------------------------------
def serve() -> None:
    """Answers questions until its input ends."""
    import logging
    import resource

    logging.disable()
    _judged(r"\int_0^1 \frac{x}{2} dx + \sum_{k=1}^{3} k", r"\frac{25}{4}")  # imports, and the parser's tables
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _late)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            found = _judged(*json.loads(line))
        except Exception:  # whatever it is, it is no proof of equality
            found = False
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(found), flush=True)


def _late(*_: object) -> None:
    raise TimeoutError


def _judged(one: str, other: str) -> bool:
    from math_verify import verify

    a, b = _parsed(one), _parsed(other)
    if a is None or b is None or not _sound(a, b):
        return False
    options: dict[str, Any] = {"strict": True, "float_rounding": 15, "timeout_seconds": None}
    return bool(verify(a, b, **options) and verify(b, a, **options))


def _parsed(text: str) -> Any:
    from math_verify import LatexExtractionConfig, parse

    found = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found and not isinstance(found[0], str) else None


def _sound(a: Any, b: Any) -> bool:
    """Whether two of sympy's objects are the same by structure, or by value at points of their symbols."""
    import sympy

    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and all(_sound(x, y) for x, y in zip(list(a), list(b), strict=True))
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        symbols = sorted(a.free_symbols | b.free_symbols, key=str)
        for point in (7, 11):
            at = {s: sympy.sqrt(point + 3 * number) for number, s in enumerate(symbols)}
            x, y = (sympy.N(v.subs(at).doit(), 60) for v in (a, b))
            if not (x.is_number and y.is_number and abs(x - y) <= abs(x) * sympy.Float("1e-40")):
                return False
        return True
    return bool(type(a) is type(b) and a == b)
