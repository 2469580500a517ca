"""What an answer means: a number, an expression, a collection, a choice, a relation, words; with a unit or a name.

Ours come before any library's rules, because a wrong "equal" pays for wrong answers: kinds must agree, every character
must be understood, and nothing is rounded.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from flywheel_jobs.reading import evaluate, expr
from flywheel_jobs.reading.brackets import CLOSING, OPENING, level, spans, split_top
from flywheel_jobs.reading.dates import read_date
from flywheel_jobs.reading.expr import Unreadable
from flywheel_jobs.reading.fold import MAX_ANSWER, fold
from flywheel_jobs.reading.kinds import NOTHING, Kind, Value
from flywheel_jobs.reading.numerals import UNITS, said
from flywheel_jobs.reading.units import split_unit, together

MAX_PARTS = 64  # entries of a collection
MAX_NESTED = 6
LONGEST = 12_000  # bits of a number, 3,600 digits: Python prints no more than 4,300


NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_(?:\{\w{1,8}\}|\w))?(?:'{1,2})?(?:\([a-z]\))?"
_WORDS = re.compile(r"[^\W\d_]+(?:[ .'’-]+[^\W\d_]+)*")
_CLAUSE = re.compile(  # how a piece of reasoning begins, and no answer
    r"(?:because|since|thus|hence|therefore|which means|let us|as (?:said|shown|above|we|it))\b"
    r"|(?:so |then )?(?:we|it|they|this|that) (?:is|are|was|were|has|have|can|must|will|should|do|does|add|subtract|"
    r"multiply|divide|get|find|know|see|need|obtain|conclude)\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"(?:(?i:option|choice|answer) )?(?:\(([A-J])\)|([A-J])(?:[).:](?=\s|$)|$))(?:\s+(\S.*))?", re.DOTALL
)
_CHOICES = re.compile(r"(?<![\w\\])[A-J](?!\w)|^(?:and|or|&)\b")
_SEVERAL_CHOICES = re.compile(r"\(?[A-J]\)?(?:,? (?:and|or|&) \(?[A-J]\)?)+")
_BASES = UNITS[2:17]
_IN_BASE = re.compile(  # small letters are digits behind a digit only: `a_2` is a variable
    r"([0-9A-F]+|\d[0-9A-Fa-f]+)(?:_\{?\s*|\s*\(?(?:in )?base[ -])"
    rf"([2-9]|[1-3]\d|{'|'.join(_BASES)})\s*\}}?\)?"
)
_OR = re.compile(r"\bor\b|\\lor(?![a-zA-Z])")
_CLOCK = re.compile(r"(\d+(?:\s*:\s*\d+)+)(?:\s*([ap])\.?m\.?)?", re.IGNORECASE)
_TURN_OF_DAY = re.compile(r"(?:12(?::00)?\s)?(noon|midnight)", re.IGNORECASE)
_ABOUT = re.compile(r"\\approx(?![a-zA-Z])|≈")
_DECIMAL = re.compile(r"\d+(?:\.(\d+))?(?![\d.])")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?)+")
_HOUR = re.compile(r"(\d{1,2})\s*([ap])\.?m\.?", re.IGNORECASE)
_REALS_BUT = re.compile(
    r"\\mathbb ?\{?R\}?\s*(?:\\setminus|\\backslash|-)\s*\\\{([^{}]+)\\\}|all real(?:s| numbers) except (?:for )?(.+)"
)
_SUCH_THAT = re.compile(rf"{NAME}(?:\s*\\in\s*\\mathbb\{{R\}})?\s*[|:]\s*(.+)", re.DOTALL)
_REFUSED = re.compile(
    r"^(?:null|nan|error|todo)$"
    r"|\b(?:cannot|can ?not|can't|can’t|could not|unable|unknown|unclear|unanswerable|insufficient|undetermined|sorry|"
    r"not (?:enough|sufficient|given|provided|known|possible|answerable|specified|available|sure|stated)|don't know|"
    r"do not know|impossible to (?:determine|tell|say|answer|know)|no (?:final )?answer|n/a|no idea|"
    r"see (?:above|below|the|solution|figure)|"
    r"none given|refuse|as an ai|tbd|to be determined|your answer|final answer|answer)\b",
    re.IGNORECASE,
)
_CHOOSE = re.compile(
    r"(?<![A-Za-z\\])(C)\((\d{1,4}), ?(\d{1,4})\)|(?:\{\})?[_^](?:\{(?=\d+\}))?(\d{1,4})\}? ?([CP])_\{?(\d{1,4})\}?"
    r"|(?<![\w.\\])(\d{1,4})([CP])(\d{1,4})(?![\w.])"
)
_CHOOSE_LETTERS = re.compile(  # `C_{2n}^{n}`, the lower from among; `C_1^2` may be the square of a constant
    r"(?<![A-Za-z\\])C_(?:\{([^{}]{0,6}[a-z][^{}]{0,6})\}|([a-z]))\^(?:\{([^{}]{1,12})\}|([a-z\d]))"
)
_NAME = re.compile(NAME)
_NO_BRACES = str.maketrans("", "", "{}")
_OF_ONE_VALUE = re.compile(  # what a value may be said of besides: a variable, f(2), P(A), a side AB, an angle, a word
    rf"{NAME}|[a-zA-Z]\^\{{?-1\}}?\([a-z]\)|\\vec ?\{{?[a-zA-Z]\}}?|[a-zA-Z]\([A-Z0-9]{{1,2}}\)|[A-Z]{{2,4}}"
    r"|\\angle ?[A-Z]{1,3}|[A-Z][a-z]{2,}(?: [a-z]+){0,2}"
)
_DISTANCE = re.compile(rf"\|\s*({NAME})\s*([+-]\s*\d+(?:\.\d+)?)?\s*\|")
_RELATIONS = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|<=|>=|!=|==|[<>=]")
_OPERATORS = {r"\le": "<=", r"\ge": ">=", r"\ne": "!=", "==": "="}
_AND = re.compile(r"\band\b|\\land(?![a-zA-Z])")
_MEMBER = re.compile(rf"({NAME})\s*\\in(?![a-zA-Z])\s*(.+)", re.DOTALL)
_AND_OR = re.compile(r"\s*(?:,\s*)?\b(?:and|or)\b\s*|\\(?:land|lor)(?![a-zA-Z])")
_MATRIX = re.compile(r"\\begin\{([bpB]?)matrix\}(.*)\\end\{\1matrix\}", re.DOTALL)
_SAID = {
    **dict.fromkeys(("all real numbers", "all reals", "the real numbers", "all real values"), r"\mathbb{R}"),
    **dict.fromkeys(("all integers", "the integers", "integers"), r"\mathbb{Z}"),
    **dict.fromkeys(("no solution", "no solutions", "the empty set", "empty set"), r"\emptyset"),
    "dne": "does not exist",
}
"""Words that stand for something that is mostly written otherwise."""
_COUNT = "zero one two three four five six seven eight nine ten eleven twelve"
_COUNTED = re.compile(rf"^({_COUNT.replace(' ', '|')})(?= [a-z])", re.IGNORECASE)
_WORD_NUMBERS = {word: number for number, word in enumerate(_COUNT.split())}


def read(answer: str) -> Value:
    """The meaning of an answer. Never raises."""
    answer = answer.strip()
    return _known(answer) if len(answer) <= MAX_ANSWER else NOTHING


@lru_cache(maxsize=8192)
def _known(answer: str) -> Value:
    text = fold(answer)
    return _read(text, 0) if text else NOTHING


def _read(text: str, depth: int) -> Value:
    if text.isdecimal():
        return Value(Kind.NUMBER, text, number=Fraction(int(text)))
    if depth > MAX_NESTED:
        return Value(Kind.OTHER, text)
    for reader in (_worded, _rounded, _related, _several, _bracketed, _proportion, _plain):
        found = reader(text, depth)
        if found is not None:
            return Value(Kind.OTHER, text) if _endless(found.number) else found
    return Value(Kind.OTHER, text)


def _endless(number: Fraction | None) -> bool:
    """Whether a number has more digits than anybody writes: a product of powers of ten; Python would not print it."""
    return number is not None and max(number.numerator.bit_length(), number.denominator.bit_length()) > LONGEST


def _worded(text: str, _depth: int) -> Value | None:
    choice = _CHOICE.fullmatch(text)
    if choice and not _CHOICES.search(choice[3] or ""):  # its words count only where both answers have some
        return Value(Kind.CHOICE, choice[1] or choice[2], unit=" ".join((choice[3] or "").split()))
    turn = _TURN_OF_DAY.fullmatch(text)
    if turn:
        text = "12:00 pm" if turn[1].lower() == "noon" else "12:00 am"
    clock = _CLOCK.fullmatch(text) or _HOUR.fullmatch(text)
    if clock:
        given = clock[1] if ":" in clock[1] else f"{clock[1]}:00"
        return _ratio(text, given.split(":"), (clock[2] or "").lower())
    if _RATIO.fullmatch(text):
        return _ratio(text, text.split(" to "))
    based = _IN_BASE.fullmatch(text)
    if based:  # asked for in that base: its value in another is no answer
        base = _BASES.index(based[2]) + 2 if based[2] in _BASES else based[2]
        return Value(Kind.WORDS, f"{based[1].upper()}_{base}")
    date = read_date(text)
    if date:
        return Value(Kind.WORDS, date)
    if _SEVERAL_CHOICES.fullmatch(text):
        return None
    if _REFUSED.search(text):
        return Value(Kind.REFUSAL, " ".join(text.lower().split()))
    if not _WORDS.fullmatch(text):
        return None
    if _CLAUSE.match(text):
        return Value(Kind.OTHER, text)
    word = " ".join(text.lower().split())
    if word in _SAID:
        return _read(_SAID[word], MAX_NESTED - 1)
    number = said(word)
    if number is not None:
        return Value(Kind.NUMBER, text, number=number)
    if word.split()[0] in _WORD_NUMBERS:
        return None  # twelve apples
    if (len(max(text.split(), key=len)) < 3 and word not in ("no", "yes")) or word in ("pi", "inf", "infinity"):
        return None  # letters side by side: variables
    return Value(Kind.WORDS, " ".join(word.split())) if len(text.split()) <= 8 else None


def _rounded(text: str, depth: int) -> Value | None:
    """`1/6 \\approx 0.167` says an exact value and then what it is about: it is the exact one, if that is so."""
    exact, *about = _ABOUT.split(text)
    if len(about) != 1 or not exact.strip():
        return None
    value, decimal = _read(exact.strip(), depth + 1), _read(about[0].strip(), depth + 1)
    written = _DECIMAL.match(about[0].strip())
    if value.kind not in (Kind.NUMBER, Kind.SCALAR) or decimal.number is None or written is None:
        return None
    places = len(written[1] or "")
    try:
        node = ("+", value.node or ("n", value.number), ("neg", ("n", decimal.number)))
        near = not expr.names(node) and evaluate.values(node).within(Fraction(1, 2 * 10**places))
    except Unreadable:
        return None
    return value if near else None


def _proportion(text: str, depth: int) -> Value | None:
    """`1 : 2\\sqrt{2}`, a ratio of constants."""
    sides = split_top(text, ":")
    if len(sides) < 2 or not all(side.strip() for side in sides):
        return None
    parts = tuple(_read(side.strip(), depth + 1) for side in sides)
    plain = all(p.kind in (Kind.NUMBER, Kind.SCALAR) and not (p.name or p.unit) for p in parts)
    if not plain or any(p.node is not None and expr.names(p.node) for p in parts):
        return None
    return Value(Kind.ORDERED, text, brackets=":", parts=parts)


def _ratio(text: str, members: list[str], half: str = "") -> Value:
    """`3:4` and `3 to 4`; a time of day with its half."""
    parts = tuple(Value(Kind.NUMBER, part, number=Fraction(part.strip())) for part in members)
    return Value(Kind.ORDERED, text, brackets=":", parts=parts, unit=half)


def _related(text: str, depth: int) -> Value | None:
    """`x = 3` is 3 with a name, `1 < x <= 3` an interval, `x \\in S` S; other relations are what they are."""
    member = _MEMBER.fullmatch(text)
    if member and len(split_top(member[2], ",")) == 1:
        return _named(member[1], _read(member[2].strip(), depth + 1))
    cuts = [m for m in _RELATIONS.finditer(text) if level(text, m.start()) == 0]
    if not cuts or len(split_top(text, ",")) > 1 or len(split_top(text, ";")) > 1 or _AND_OR.search(text):
        return None
    starts, ends = [0, *(m.end() for m in cuts)], [*(m.start() for m in cuts), len(text)]
    sides = [text[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    operators = [_OPERATORS.get(m[0], m[0]) for m in cuts]
    if not all(sides):
        return None
    if operators == ["!="] and text[cuts[0].start() - 1] != " ":
        right = _read(sides[1], depth + 1)
        if _holds(f"{sides[0]}!", right):
            return right  # `4!=24`
    if set(operators) == {"="}:
        return _equation(text, sides, depth)
    return _inequality(text, sides, operators)


def _equation(text: str, sides: list[str], depth: int) -> Value | None:
    value = _read(sides[-1], depth + 1)
    named = _OF_ONE_VALUE.fullmatch(sides[0]) is not None and not _mentions(value, sides[0])
    if named and all(_OF_ONE_VALUE.fullmatch(side) or _holds(side, value) for side in sides[1:-1]):  # `x = 2+3 = 5`
        return _named(sides[0], value)
    if all(_holds(side, value) for side in sides[:-1]):
        return value
    if len(sides) != 2:
        return None
    names = [n.strip() for n in sides[0].strip("()").split(",")] if sides[0].startswith("(") else []
    if (
        len(names) > 1
        and names == sorted(names)
        and len(names) == len(value.parts)
        and all(map(_NAME.fullmatch, names))
    ):
        return replace(value, name=",".join(names))  # `(x,y) = (3,4)`
    return _relation("=", text, sides)


def _holds(side: str, value: Value) -> bool:
    """Whether a constant is that value: `1/2 = 0.5` and `C(5,2) = 10` say what stands last, `2+2 = 5` nothing."""
    if value.kind not in (Kind.NUMBER, Kind.SCALAR):
        return False
    try:
        nodes = expr.parse(_chosen(side)), ("n", value.number) if value.node is None else value.node
        return not any(map(expr.names, nodes)) and evaluate.values(nodes[0]).same(evaluate.values(nodes[1]))
    except Unreadable:
        return False


def _named(name: str, value: Value) -> Value:
    return replace(value, name=name.replace(r"\vec", "").translate(_NO_BRACES).strip())


def _mentions(value: Value, name: str) -> bool:
    return value.node is not None and name.lstrip("\\") in expr.names(value.node)


def _relation(operator: str, text: str, sides: list[str]) -> Value | None:
    try:
        left, right = (expr.parse(side) for side in sides)
    except Unreadable:
        return None
    if operator in (">", ">="):
        left, right, operator = right, left, operator.replace(">", "<")
    return Value(Kind.RELATION, text, node=("+", left, ("neg", right)), brackets=operator)


def _inequality(text: str, sides: list[str], operators: list[str]) -> Value | None:
    if len(sides) == 2:
        if operators[0] == "!=":
            return _except(sides) or _relation("!=", text, sides)
        if (_NAME.fullmatch(sides[1]) or _DISTANCE.fullmatch(sides[1])) and not _NAME.fullmatch(sides[0]):
            sides, operators = sides[::-1], [operators[0].translate(str.maketrans("<>", "><"))]
        distance = _DISTANCE.fullmatch(sides[0])
        if distance and (found := _within(text, distance, operators[0], _read(sides[1], MAX_NESTED).number)):
            return found
        if _NAME.fullmatch(sides[0]):
            bound = _read(sides[1], MAX_NESTED)
            if bound.kind in (Kind.NUMBER, Kind.SCALAR) and not (bound.node and expr.names(bound.node)):
                return _named(sides[0], _ray(text, operators[0], bound))
        return _relation(operators[0], text, sides)
    if len(sides) == 3 and _NAME.fullmatch(sides[1]) and len({o[0] for o in operators}) == 1:
        if operators[0][0] == ">":
            sides, operators = sides[::-1], operators[::-1]
        ends = (_read(sides[0], MAX_NESTED), _read(sides[2], MAX_NESTED))
        if all(e.kind in (Kind.NUMBER, Kind.SCALAR) for e in ends):
            brackets = ("[" if "=" in operators[0] else "(") + ("]" if "=" in operators[1] else ")")
            return _named(sides[1], Value(Kind.ORDERED, text, brackets=brackets, parts=ends))
    return None


def _within(text: str, distance: re.Match[str], operator: str, size: Fraction | None) -> Value | None:
    """`|x - 1| < 2` is an interval, `|x| > 1` the two rays beside one."""
    if size is None or size <= 0:
        return None
    centre = -Fraction((distance[2] or "0").replace(" ", ""))
    low, high = (Value(Kind.NUMBER, str(end), number=end) for end in (centre - size, centre + size))
    if operator[0] == "<":
        brackets = "[]" if "=" in operator else "()"
        return _named(distance[1], Value(Kind.ORDERED, text, brackets=brackets, parts=(low, high)))
    rays = (_ray(text, operator.replace(">", "<"), low), _ray(text, operator, high))
    return _named(distance[1], Value(Kind.SET, text, brackets="∪", parts=rays))


def _except(sides: list[str]) -> Value | None:
    """`x != 2` is all before 2 and all behind it."""
    name, *_ = [side for side in sides if _NAME.fullmatch(side)] or [""]
    found = _all_but([side for side in sides if side != name]) if name else None
    return _named(name, found) if found else None


def _all_but(points: list[str]) -> Value | None:
    numbers = [_read(point.strip(), MAX_NESTED).number for point in points]
    given = sorted(number for number in numbers if number is not None)
    edges = [r"-\infty", *map(str, given), r"\infty"]
    return _read("∪".join(f"({a},{b})" for a, b in pairwise(edges)), 0) if given and len(given) == len(points) else None


def _ray(text: str, operator: str, bound: Value) -> Value:
    endless = Value(Kind.SCALAR, r"\infty", node=("c", "oo"))
    closed = "=" in operator
    if operator[0] == ">":
        return Value(Kind.ORDERED, text, brackets="[)" if closed else "()", parts=(bound, endless))
    below = Value(Kind.SCALAR, r"-\infty", node=("neg", ("c", "oo")))
    return Value(Kind.ORDERED, text, brackets="(]" if closed else "()", parts=(below, bound))


def _several(text: str, depth: int) -> Value | None:
    """Answers side by side: `2, 3`, `2 and 3`, `2 ± 1`, a union; amounts that are one: `2 hours and 5 minutes`."""
    amount = together(text)
    if amount is not None:
        return Value(Kind.NUMBER, text, number=amount[0], unit=amount[1])
    parts = split_top(text, "∪")
    if len(parts) > 1:
        return _collection(Kind.SET, text, "∪", parts, depth)
    parts = split_top(text, ";")
    if len(parts) > 1:
        return _side_by_side(_collection(Kind.SET, text, "", parts, depth), by_or=False)
    parts = (
        [p for piece in _AND_OR.split(text) for p in split_top(piece, ",")]
        if "," in text or _AND_OR.search(text)
        else []
    )
    if len(parts) > 1 and all(p.strip() for p in parts):
        found = _collection(Kind.SET, text, "", parts, depth)
        if found and _OR.search(text) and all(p.kind is Kind.CHOICE or (p.node or "n")[0] == "v" for p in found.parts):
            return Value(Kind.OTHER, text)  # who names two options has not chosen; `p or q` is no `p and q`
        return (_AND.search(text) and _between(found)) or _side_by_side(found, bool(_OR.search(text)))
    if text.count(r"\pm") == 1:
        both = [text.replace(r"\pm", sign) for sign in ("+", "-")]
        return _collection(Kind.SET, text, "", both, depth)
    return None


def _side_by_side(found: Value | None, by_or: bool) -> Value | None:
    """`x < 1 or x > 2` is a union; the name in `x = 1, 2` is of all that follows."""
    if found is None:
        return None
    first, *rest = found.parts
    if by_or and len({p.name.partition("_")[0] for p in found.parts if p.name}) > 1:
        return Value(Kind.OTHER, found.text)  # of two variables only one is said: `x=1 or y=2` is no `x=1, y=2`
    if by_or and all(p.name == first.name != "" and p.kind is Kind.ORDERED for p in found.parts):
        return replace(found, brackets="∪")
    if by_or and all(p.kind is Kind.NUMBER and not p.name and _amount(p) == _amount(first) for p in found.parts):
        return first  # said twice: `5/8 or 0.625`
    if first.name and all(not p.name and _fits(first.name, p) for p in rest):
        return replace(found, parts=tuple(replace(p, name=first.name) for p in found.parts))
    return found


def _amount(part: Value) -> tuple[Fraction | None, str]:
    return part.number, part.unit


def _fits(name: str, part: Value) -> bool:
    """Whether a name may be of a value: of one, or `(p,q)` of a pair."""
    if "," in name:
        return part.kind is Kind.ORDERED and part.brackets == "()" and len(part.parts) == len(name.split(","))
    return part.kind in (Kind.NUMBER, Kind.SCALAR)


def _between(found: Value | None) -> Value | None:
    """`x >= 2 and x < 5` is one interval; None where the two leave nothing or say something else."""
    if found is None or len(found.parts) != 2 or found.parts[0].name != found.parts[1].name != "":
        return None
    rays = {p.parts[0].text == r"-\infty": p for p in found.parts if p.kind is Kind.ORDERED and len(p.parts) == 2}
    if len(rays) != 2 or rays[False].parts[1].text != r"\infty":
        return None
    low, high = rays[False].parts[0], rays[True].parts[1]
    if low.number is None or high.number is None or low.number >= high.number:
        return None
    brackets = rays[False].brackets[0] + rays[True].brackets[1]
    return replace(rays[False], text=found.text, brackets=brackets, parts=(low, high))


def _bracketed(text: str, depth: int) -> Value | None:
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [f"[{row.replace('&', ',')}]" for row in matrix[2].split(r"\\") if row.strip()]
        return _collection(Kind.ORDERED, text, "matrix", rows, depth)
    if text == r"\emptyset":
        return Value(Kind.SET, text)
    if text in (r"\mathbb{R}", r"\mathbb R"):
        return _read(r"(-\infty,\infty)", depth)
    but = _REALS_BUT.fullmatch(text)
    if but and (found := _all_but((but[1] or but[2]).split(","))):
        return found
    inner, brackets = text, ""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        inner, brackets = text[2:-2], r"\{"
        such = _SUCH_THAT.fullmatch(inner.strip())
        if such:
            return _read(such[1].strip(), depth + 1)
    elif len(text) > 2 and text[0] in OPENING and text[-1] in CLOSING and spans(text):
        inner, brackets = text[1:-1], text[0] + text[-1]
    if not brackets or not inner.strip():
        return None
    parts = split_top(inner, ";" if ";" in inner else ",")
    if brackets in (r"\{", "{}"):
        if len(parts) == 1 and brackets == "{}":
            return _read(inner.strip(), depth + 1)
        return _collection(Kind.SET, text, "", parts, depth)
    if len(parts) == 1:
        return _read(inner.strip(), depth + 1) if brackets == "()" else None
    found = _collection(Kind.ORDERED, text, brackets, parts, depth)
    if found and brackets == "[]" and len({len(p.parts) for p in found.parts if p.brackets == "[]"} | {0}) == 2:
        return replace(found, brackets="matrix") if all(p.brackets == "[]" for p in found.parts) else found
    return found


def _collection(kind: Kind, text: str, brackets: str, parts: list[str], depth: int) -> Value | None:
    if len(parts) > MAX_PARTS or not all(p.strip() for p in parts):
        return None
    return Value(kind, text, brackets=brackets, parts=tuple(_read(p.strip(), depth + 1) for p in parts))


def _chosen(text: str) -> str:
    """`C(5,2)`, `5C2` and `5P2` as what they count. A point C is answered by its coordinates, `(5,2)`."""

    def counted(found: re.Match[str]) -> str:
        one, n, k = (
            a or b or c
            for a, b, c in zip(found.group(1, 2, 3), found.group(5, 4, 6), found.group(8, 7, 9), strict=True)
        )
        return rf"\binom{{{n}}}{{{k}}}" + (rf" * {k}!" if one == "P" else "")

    text = _CHOOSE_LETTERS.sub(lambda m: rf"\binom{{{m[1] or m[2]}}}{{{m[3] or m[4]}}}", text)
    return _CHOOSE.sub(counted, text)


def _plain(text: str, _depth: int) -> Value | None:
    """A number or an expression, with a unit behind it."""
    unit = ""
    text = _chosen(text)
    bare, unit, factor = split_unit(_COUNTED.sub(lambda m: str(_WORD_NUMBERS[m[1].lower()]), text))
    try:
        node = expr.parse(bare)
    except Unreadable:
        return None
    if factor != 1:
        node = ("*", node, ("n", factor))
    if expr.unfinished(node) and factor == 1:
        return Value(Kind.UNFINISHED, "".join(text.split()))
    number = expr.rational(node)
    if number is not None:
        return Value(Kind.NUMBER, text, number=number, unit=unit)
    return Value(Kind.SCALAR, f"{bare} {unit}".rstrip(), node=node, unit=unit)
