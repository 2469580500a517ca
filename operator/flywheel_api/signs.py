"""What the last lines of a training run say about its end (law 7): a table of signs, and the rule by which it is read.

The lines come from many processes at once, and one failure has many echoes. So the log is read from its end upwards.
A CAUSE stands where it is met. A FAULT (of CUDA) gives way to a cause alone, and an EFFECT to both: it is often another
process's reaction (NCCL's watchdog, a lost node). What a CLIENT says of a server gives way to what ended the server,
that a process was killed or crashed (ENDED) to these, and what is VAGUE to all of them, and so is whatever a program
logs as information or a warning: it went on (and nothing of that is final). An ECHO says nothing itself ("see root
cause above"). An exception that is not in the table ends the reading, unless Python says that another one led to it; it
says more than what is vague if Ray names it as what a task failed with, and than a warning of how other processes took
it. A step that was trained ends the reading too: the run survived whatever was said before. Refusals in words that
nobody listed count only where nothing was trained yet. What a program only guesses ("This can happen if ...") is
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flywheel_api.causes import FINAL_CAUSES, Cause
from flywheel_api.ends import MEANINGS, End
from flywheel_api.sign_rows import Rank, Sign
from flywheel_api.sign_table import SIGNS

TAIL_CHARACTERS = 600  # of the 1,024 that a condition's message holds
_SPEECH = re.compile(  # what a reward function prints of a sample: the words of a model, which are no evidence
    r"\[(?:prompt|response|responses|ground_truth|question|answer|score|user|assistant|tool\w*)\]|<\|im_start\|>|"
    r"(?:Solution string|Model response|Question|Response|Answer):",
    re.I,
)
_WENT_ON = re.compile(  # what programs say when they go on: Python's warnings, and lines that say so themselves
    r"^(?:\S+: )?\w*Warning: |^warnings\.warn\(|won't affect Ray|entering retry loop|reverting to polling|"
    r"in use, trying port"
)
_MILD = re.compile(r"(?:DEBUG|INFO|WARNING)\b|\[?[IW]\d{4} ")  # levels of Python's and of Google's loggers
_GUESS = re.compile(r"(?:This can happen (?:if|when)|[Tt]here are some potential root causes|a common cause is)\b.*")
_OF_TASK = re.compile(r"RayTaskError\((\w+)\)")
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.)*(_?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Failure)|Exception|"
    r"(?<=exceptions\.)[A-Z]\w+|(?<=errors\.)[A-Z]\w+|(?<=errorfactory\.)[A-Z]\w+|Stop(?:Async)?Iteration|"
    r"(?<=\.)[A-Z]\w*(?:Expired|Conflict|NotFound|Denied|Closed|Died|Unavailable|BadZipFile|ZipFile|Empty|Full))(?::\s|$)"
)
_BARE = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)$")
_FRAME = re.compile(r'File "[^"]*?((?:[\w.-]+/){0,3}[\w.-]+\.py)"')
_MARKERS = re.compile(r"[~^ ]+$")  # below the expression that failed
_QUOTED = re.compile(  # words that a ValueError quotes are data, unless a driver's tool said them
    r"(?<![\w\])}])(?:'(?![^']*\bNVML\b)[^']* [^']*'|\"[^\"]* [^\"]*\")(?!\w)"
)
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
_STEP = re.compile(r"\bstep:\d+ - .*\btiming_s/step:")
_HANDED_ON = re.compile(r"\bray::\S+ \(pid=\d+, ip=(?P<ip>[0-9a-fA-F.:]+)")  # begins a traceback of another process
_TORN_DOWN = re.compile(r"Exception ignored in|Error in sys.excepthook|^Exception in thread ")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PREFIX = re.compile(
    r"\((?!raylet|autoscaler|gcs)(?:[\w.:\-]+ )?pid=\d+(?:, ip=(?P<ip>[0-9a-fA-F.:]+))?\)\s*"
    r"|\[rank\d+\]:(?:\[[EF][^\]]*\])?\s*"
    r"|(?:ERROR|WARNING|CRITICAL|INFO)\s+(?:\d\d-\d\d [\d:.]+ )?\[[^\]]*\]\s*"
)
_OF_RAY = re.compile(r"\((?:raylet|gcs_server|pid=[a-z]\w*)\b[^)]*\)\s+")  # kept: what a node says tells more
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
_BY_SIGNAL = {
    4: End.WORKER_CRASHED, 6: End.WORKER_CRASHED, 7: End.SHARED_MEMORY, 8: End.WORKER_CRASHED, 9: End.WORKER_KILLED,
    11: End.WORKER_CRASHED, 15: End.TERMINATED,
}  # fmt: skip
_REFUSED = re.compile(r"Set the environment variable HYDRA_FULL_ERROR=1")
_RAN = re.compile(r"Error executing job with overrides|\(TaskRunner|\[validate_config\]")


@dataclass(frozen=True)
class Reading:
    """Why it ended. `address`: the IP of the pod whose GPU failed, if Ray said it."""

    cause: Cause
    reason: str
    text: str
    address: str | None = None


@dataclass(frozen=True)
class _Line:
    text: str
    address: str | None
    mild: bool = False  # of a level below an error's
    source: str = ""  # the process that wrote it, as Ray names it


@dataclass(frozen=True)
class _Met:
    line: _Line
    rank: Rank | None  # None: an exception that is not in the table
    sign: Sign | None = None
    name: str = ""


def read(exit_code: int, lines: Sequence[str], trained: bool = False) -> Reading:
    """What an ended run stands for: its exit code as subprocess reports it, its last lines oldest first.

    `trained`: whether a step was ever trained with these settings, be it in an earlier attempt.
    """
    clean = _clean(lines)
    met = _decide(clean, trained)
    refused = _hydra_refusal(clean)
    if refused is not None and (met is None or met.rank is not Rank.CAUSE or _is_override(met)):
        return _reading(End.INVALID_OVERRIDE, "", refused)
    signal = _BY_SIGNAL.get(-exit_code)
    if signal is not None and not _explains(met, exit_code):
        named = f"{MEANINGS[signal].text} (signal {-exit_code}, {_SIGNALS[-exit_code]})"
        return _reading(signal, named, _last(clean))
    if met is not None and met.sign is not None and met.rank is not Rank.ECHO:
        return _reading(met.sign.end, met.sign.advice, met.line)
    ended = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    reason = met.name if met is not None and met.rank is None else End.TRAINING_FAILED.value
    return Reading(Cause.APP, reason, f"verl ended with {ended}; {_shown(met.line if met else _last(clean))}")


def known(lines: Sequence[str]) -> Reading | None:
    """What the table says of these lines; None where it says nothing."""
    met = _decide(_clean(lines), trained=True)  # nothing here tells whether it was
    if met is None or met.sign is None or met.rank is Rank.ECHO:
        return None
    return _reading(met.sign.end, met.sign.advice, met.line)


def excerpt(lines: Sequence[str]) -> str:
    """The line that says most: the last exception if there is one, else the end of the log."""
    clean = _clean(lines)
    raised = [line for line in clean if _EXCEPTION.match(line.text)]
    return _shown(raised[-1] if raised else _last(clean))


def _decide(lines: Sequence[_Line], trained: bool) -> _Met | None:
    """The line that tells why, by the rule at the top of this module."""
    lines = _without_samples(lines)
    trained = trained or any(_STEP.search(line.text) for line in lines)
    of_tasks = {name for line in lines for name in _OF_TASK.findall(line.text)}
    best: _Met | None = None
    linked = False  # between the exception below and what comes now stands that one led to the other
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        if _STEP.search(line.text):
            break
        if _CHAINED.match(line.text):
            linked = True
            continue
        met = _met(_with_source(lines, index), trained)
        if met is None or _is_torn_down(met, lines, index):
            continue
        if best is not None and best.rank is None and not linked:
            break
        linked = False
        if met.rank is Rank.CAUSE:
            return met
        best = met if best is not None and _tells_of_a_task(best, met, of_tasks) else _stronger(best, met)
    return best


def _without_samples(lines: Sequence[_Line]) -> list[_Line]:
    """The lines without those that a process wrote between two marks of a sample: a prompt of several lines."""
    spoken: set[int] = set()
    begun: dict[str, int] = {}
    for index, line in enumerate(lines):
        if _SPEECH.match(line.text):
            between = range(begun.pop(line.source, index), index)
            spoken.update(i for i in between if lines[i].source == line.source and not _STEP.search(lines[i].text))
            if not line.text.startswith("[score]"):
                begun[line.source] = index
    return [line for index, line in enumerate(lines) if index not in spoken]


def _stronger(best: _Met | None, met: _Met) -> _Met:
    """Of two, the one nearer the end unless the other says more. An unknown exception says more than an echo only."""
    if best is None or best.rank is Rank.ECHO:
        return met
    if best.rank is None:
        return met if met.rank is not None and met.rank < Rank.ECHO else best
    return met if met.rank is not None and met.rank < best.rank else best


def _tells_of_a_task(best: _Met, met: _Met, of_tasks: set[str]) -> bool:
    """Whether an unknown exception is what a task failed with, by Ray's own word, and what is known says less.

    Or that is a mere warning of how another process took it, as the peers of one that ended write.
    """
    if met.rank is not None or best.rank is None or best.rank < Rank.VAGUE:
        return False
    return met.name in of_tasks or (best.line.mild and best.sign is not None and best.sign.rank is Rank.EFFECT)


def _with_source(lines: Sequence[_Line], index: int) -> _Line:
    """A line; an exception that says nothing has the source line above it for its words, a key the file that asked."""
    line = lines[index]
    if line.text.startswith("KeyError: "):
        frames = (_FRAME.match(one.text) for one in reversed(lines[max(0, index - 4) : index]))
        frame = next((found[1] for found in frames if found), "")
        return _Line(f"{line.text} (in {frame})", line.address) if frame else line
    if not _BARE.match(line.text):
        return line
    above = next((one.text for one in reversed(lines[max(0, index - 2) : index]) if not _MARKERS.match(one.text)), "")
    return _Line(f"{line.text}: {above}", line.address) if above.startswith(("assert ", "raise ")) else line


def _met(line: _Line, trained: bool) -> _Met | None:
    if _SPEECH.match(line.text) or _WENT_ON.search(line.text):
        return None
    text = _GUESS.sub("", _QUOTED.sub("", line.text) if line.text.startswith("ValueError: ") else line.text)
    for sign in SIGNS:
        if not (sign.starting and trained) and sign.pattern.search(text):
            if line.mild and MEANINGS[sign.end].cause in FINAL_CAUSES:
                return None
            raised = _EXCEPTION.match(line.text)
            rank = max(sign.rank, Rank.VAGUE) if line.mild else sign.rank
            if rank is Rank.EFFECT and _OF_TASK.search(text):  # by its class alone: what it says stands above
                rank = Rank.CLIENT
            return _Met(line, rank, sign, raised.group(1) if raised else "")
    raised = _EXCEPTION.match(line.text)
    return _Met(line, None, None, raised.group(1)) if raised and not line.mild else None


def _is_torn_down(met: _Met, lines: Sequence[_Line], index: int) -> bool:
    """Whether an exception ended no program, as it was raised in a thread or at the very end: the true one is above."""
    return met.rank is None and any(_TORN_DOWN.search(line.text) for line in lines[max(0, index - 8) : index])


def _hydra_refusal(lines: Sequence[_Line]) -> _Line | None:
    """What hydra said when it refused the command line. It gives no exception's name, and verl did not run."""
    for index, line in enumerate(lines):
        if _RAN.search(line.text):
            return None
        if _REFUSED.search(line.text):
            said = [line.text for line in lines[max(0, index - 8) : index]]
            return _Line(" | ".join(said) or line.text, None)
    return None


def _is_override(met: _Met) -> bool:
    return met.sign is not None and met.sign.end is End.INVALID_OVERRIDE


def _explains(met: _Met | None, exit_code: int) -> bool:
    """Whether what was met explains that signal. A kill and a full /dev/shm need a cause, a request to stop a sign."""
    if met is None or met.rank is Rank.ECHO:
        return False
    if exit_code in (-7, -9):
        return met.rank is Rank.CAUSE
    return exit_code != -15 or met.rank is not None


def _reading(end: End, advice: str, line: _Line) -> Reading:
    meaning = MEANINGS[end]
    address = line.address if end is End.GPU_FAULT else None
    return Reading(meaning.cause, end.value, f"{advice or meaning.text}; {_shown(line)}", address)


def _clean(raws: Sequence[str]) -> list[_Line]:
    """Cleaned lines. Those of a traceback that Ray handed on are of the pod that its first line names."""
    found: list[_Line] = []
    raised_at: dict[str, str] = {}
    for line in (line for raw in raws for line in _cleaned(raw)):
        begun = _HANDED_ON.search(line.text)
        if begun is not None:
            raised_at[line.source] = begun.group("ip")
        found.append(replace(line, address=raised_at.get(line.source, line.address)))
        if begun is None and _EXCEPTION.match(line.text):
            raised_at.pop(line.source, None)
    return found


def _cleaned(raw: str) -> list[_Line]:
    """Lines without colours and without the marks of whoever passed them on; none when nothing is left."""
    text, address, source = _ANSI.sub("", raw).strip(), None, ""
    mild = _MILD.match(text) is not None
    while (mark := _PREFIX.match(text)) is not None and mark.end():
        address, source = mark.group("ip") or address, mark.group() if " pid=" in mark.group() else source
        text = text[mark.end() :]
        mild = mild or _MILD.match(text) is not None
    mark = _OF_RAY.match(text)
    if mark is not None and _EXCEPTION.match(text[mark.end() :]):  # of a program that a node runs, or its agent
        text = text[mark.end() :]
    return [_Line(text, address, mild, source)] if text else []


def _last(lines: Sequence[_Line]) -> _Line:
    return _Line(" | ".join(line.text for line in lines[-5:]), None)


def _shown(line: _Line) -> str:
    return f"last: {line.text[-TAIL_CHARACTERS:]}" if line.text else "it wrote nothing"
