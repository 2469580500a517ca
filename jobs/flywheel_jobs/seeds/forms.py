"""Forms of questions with exact answers: a formula, a second method that checks an answer, and wordings of both sides.

In a wording `{0}` is the first value; `{name}` has `{thing}`. A wording belongs to training or is held out, for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, lcm


@dataclass(frozen=True)
class Form:
    """What a question asks of its values. Both functions take integers only, of any size that a record may hold."""

    answer: Callable[..., int | None]
    """The answer by a formula; None where there is none among the integers."""
    holds: Callable[..., bool]
    """Whether its first argument is the answer to the others, by another method than the formula."""
    train: tuple[str, ...]
    heldout: tuple[str, ...]


def exact(above: int, below: int) -> int | None:
    """The quotient; None where it is no integer."""
    return above // below if below and above % below == 0 else None


def repeated(a: int, times: int, modulus: int) -> int:
    """a to the power of `times`, by multiplication and remainder alone."""
    found = 1 % modulus
    for _ in range(times):
        found = found * a % modulus
    return found


PLUS = Form(
    lambda a, b: a + b,
    lambda x, a, b: x - b == a,
    ("{0}+{1}", "{0} + {1}", "{0}+{1}="),
    ("{0} plus {1}", "{0}+{1} is"),
)
PLUS_STORY = Form(
    lambda a, b: a + b,
    lambda x, a, b: x - b == a,
    ("{name} has {0} {thing} and gets {1}. {Thing}?",),
    ("{name} counts {0} {thing}, then {1} more. How many in all?",),
)
PLUS_THREE = Form(
    lambda a, b, c: a + b + c,
    lambda x, a, b, c: x - c - b == a,
    ("{0}+{1}+{2}", "{0} + {1} + {2}"),
    ("{0} plus {1} plus {2}",),
)
MINUS = Form(
    lambda a, b: a - b,
    lambda x, a, b: x + b == a,
    ("{0}-{1}", "{0} - {1}", "{0}-{1}="),
    ("{0} minus {1}", "{0}-{1} is"),
)
MINUS_STORY = Form(
    lambda a, b: a - b,
    lambda x, a, b: x + b == a,
    ("{name} has {0} {thing} and loses {1}. {Thing}?",),
    ("{name} had {0} {thing} and sold {1}. How many are left?",),
)
MINUS_TWO = Form(
    lambda a, b, c: a - b - c,
    lambda x, a, b, c: x + b + c == a,
    ("{0}-{1}-{2}", "{0} - {1} - {2}"),
    ("{0} minus {1} minus {2}",),
)
TIMES = Form(
    lambda a, b: a * b,
    lambda x, a, b: exact(x, b) == a if b else x == 0,
    ("{0}*{1}", "{0} times {1}"),
    ("product of {0} and {1}", "{0}*{1} is"),
)
TIMES_STORY = Form(
    lambda a, b: a * b,
    lambda x, a, b: exact(x, b) == a if b else x == 0,
    ("{name} has {0} boxes of {1} {thing}. {Thing}?",),
    ("{name} fills {0} bags with {1} {thing} each. How many {thing}?",),
)
TIMES_THREE = Form(
    lambda a, b, c: a * b * c,
    lambda x, a, b, c: exact(x, b * c) == a if b * c else x == 0,
    ("{0}*{1}*{2}", "{0} times {1} times {2}"),
    ("product of {0}, {1} and {2}",),
)
UP_DOWN = Form(
    lambda a, b, c: a + b - c,
    lambda x, a, b, c: x + c == a + b,
    ("{0}+{1}-{2}", "{0} + {1} - {2}"),
    ("{0} plus {1} minus {2}",),
)
DOWN_UP = Form(
    lambda a, b, c: a - b + c,
    lambda x, a, b, c: x - c + b == a,
    ("{0}-{1}+{2}", "{0} - {1} + {2}"),
    ("{0} minus {1} plus {2}",),
)
UP_DOWN_STORY = Form(
    lambda a, b, c: a + b - c,
    lambda x, a, b, c: x + c == a + b,
    ("{name} has {0} {thing}, gets {1} and loses {2}. {Thing}?",),
    ("{name} buys {0} {thing}, then {1}, and gives {2} away. How many are left?",),
)
PLUS_TIMES = Form(
    lambda a, b, c: a + b * c,
    lambda x, a, b, c: x - sum([b] * c) == a,
    ("{0}+{1}*{2}", "{0} + {1} * {2}"),
    ("{0} plus {1} times {2}",),
)
TWO_PRODUCTS = Form(
    lambda a, b, c, d: a * b + c * d,
    lambda x, a, b, c, d: x - sum([a] * b) == sum([c] * d),
    ("{0}*{1}+{2}*{3}", "{0} * {1} + {2} * {3}"),
    ("{0} times {1} plus {2} times {3}",),
)
SHARED_STORY = Form(
    lambda a, b, c, d: exact(a * b - c, d),
    lambda x, a, b, c, d: x * d + c == a * b,
    ("{name} has {0} boxes of {1} {thing}, loses {2} and shares the rest among {3} friends. {Thing} each?",),
    ("{name} packs {0} bags of {1} {thing}, eats {2} and splits what is left {3} ways. How many does each get?",),
)
MISSING = Form(
    lambda a, b: b - a,
    lambda x, a, b: a + x == b,
    ("{0}+?={1}", "{0} + ? = {1}"),
    ("{0} plus what is {1}",),
)
FACTOR = Form(
    lambda a, b: exact(b, a),
    lambda x, a, b: a * x == b,
    ("{0}*?={1}", "{0} * ? = {1}"),
    ("{0} times what is {1}",),
)
LINE = Form(
    lambda a, b, c: exact(c - b, a),
    lambda x, a, b, c: a * x + b == c,
    ("{0}x+{1}={2}, x=", "{0}x + {1} = {2}, x="),
    ("solve {0}x+{1}={2} for x",),
)
MISSING_STORY = Form(
    lambda a, b: b - a,
    lambda x, a, b: a + x == b,
    ("{name} has {0} {thing} and wants {1}. How many more?",),
    ("{name} needs {1} {thing} and has only {0}. How many are missing?",),
)
TWO_LINES = Form(
    lambda a, b, c, d: exact(d - b, a - c),
    lambda x, a, b, c, d: a * x + b == c * x + d and a != c,
    ("{0}x+{1}={2}x+{3}, x=",),
    ("solve {0}x+{1}={2}x+{3} for x",),
)
TWO_UNKNOWNS = Form(
    lambda s, d: exact(s + d, 2),
    lambda x, s, d: x - (s - x) == d,
    ("x+y={0}, x-y={1}, x=", "x + y = {0}, x - y = {1}, x="),
    ("solve x+y={0} and x-y={1} for x",),
)
CENTIMETRES = Form(
    lambda a: 100 * a,
    lambda x, a: exact(x, 100) == a,
    ("cm in {0} m", "{0} m in cm"),
    ("centimetres in {0} m",),
)
DAYS = Form(
    lambda a: 7 * a,
    lambda x, a: exact(x, 7) == a,
    ("days in {0} weeks", "{0} weeks in days"),
    ("number of days in {0} weeks",),
)
MINUTES = Form(
    lambda a: 60 * a,
    lambda x, a: exact(x, 60) == a,
    ("minutes in {0} hours", "{0} hours in minutes"),
    ("number of minutes in {0} hours",),
)
LENGTH_STORY = Form(
    lambda a, b: 100 * a + b,
    lambda x, a, b: x - b == sum([100] * a),
    ("{name} cuts {0} m {1} cm of rope. How many cm?",),
    ("{name}'s rope for {thing} is {0} m {1} cm long. Its length in cm?",),
)
TIME = Form(
    lambda a, b: 60 * a + b,
    lambda x, a, b: x - b == sum([60] * a),
    ("minutes in {0} h {1} min", "{0} h {1} min in minutes"),
    ("number of minutes in {0} h {1} min",),
)
HOURS = Form(
    lambda a, b: 24 * (7 * a + b),
    lambda x, a, b: exact(x - 24 * b, 24 * 7) == a,
    ("hours in {0} weeks {1} days", "{0} weeks {1} days in hours"),
    ("number of hours in {0} weeks {1} days",),
)
HALF = Form(
    lambda a: exact(a, 2),
    lambda x, a: x + x == a,
    ("half of {0}", "{0}/2"),
    ("50% of {0}",),
)
TENTH = Form(
    lambda a: exact(a, 10),
    lambda x, a: sum([x] * 10) == a,
    ("10% of {0}", "a tenth of {0}"),
    ("10 percent of {0}",),
)
SHARE = Form(
    lambda p, n: exact(p * n, 100),
    lambda x, p, n: x * 100 == sum([n] * p),
    ("{0}% of {1}", "{1}: {0}% of it"),
    ("{0} percent of {1}",),
)
SHARE_STORY = Form(
    lambda n, p: exact(p * n, 100),
    lambda x, n, p: x * 100 == sum([n] * p),
    ("{name} has {0} {thing} and sells {1}%. How many are sold?",),
    ("Of {name}'s {0} {thing} {1} percent are old. How many are old?",),
)
RISE = Form(
    lambda n, p: exact(n * (100 + p), 100),
    lambda x, n, p: (x - n) * 100 == n * p,
    ("{0} plus {1}% of it", "{0} raised by {1}%"),
    ("{0} grows by {1} percent",),
)
RISE_AND_FALL = Form(
    lambda n, p, q: exact(n * (100 + p) * (100 - q), 10_000),
    lambda x, n, p, q: x * 100 * 100 == (n * 100 + n * p) * (100 - q),
    ("{0} raised by {1}%, then cut by {2}%",),
    ("{0} grows by {1} percent, then falls by {2} percent",),
)
LAST_DIGIT = Form(
    lambda a: abs(a) % 10,
    lambda x, a: str(x) == str(a)[-1],
    ("last digit of {0}", "{0}: last digit"),
    ("the digit that {0} ends in",),
)
REMAINDER = Form(
    lambda a, b: a % b if b else None,
    lambda x, a, b: 0 <= x < b and exact(a - x, b) is not None,
    ("{0} mod {1}", "{0} % {1}"),
    ("remainder of {0} divided by {1}",),
)
REMAINDER_STORY = Form(
    lambda a, b: a % b if b else None,
    lambda x, a, b: 0 <= x < b and exact(a - x, b) is not None,
    ("{name} packs {0} {thing} in boxes of {1}. How many are left over?",),
    ("{name} lays {0} {thing} in rows of {1}. How many do not fill a row?",),
)
PRODUCT_REMAINDER = Form(
    lambda a, b, m: a * b % m if m else None,
    lambda x, a, b, m: 0 <= x < m and exact(sum([a] * b) - x, m) is not None,
    ("{0}*{1} mod {2}", "{0} * {1} mod {2}"),
    ("remainder of {0} times {1} divided by {2}",),
)
POWER_REMAINDER = Form(
    lambda a, b, m: pow(a, b, m) if m > 0 <= b else None,
    lambda x, a, b, m: m > 0 and x == repeated(a, b, m),
    ("{0}^{1} mod {2}",),
    ("remainder of {0} to the power {1} divided by {2}",),
)
FROM_TO = Form(
    lambda a, b: b - a + 1,
    lambda x, a, b: x == len(range(a, b + 1)),
    ("how many numbers from {0} to {1}", "numbers from {0} to {1}"),
    ("count of the numbers {0} to {1}",),
)
PAIRS = Form(
    lambda n: n * (n - 1) // 2,
    lambda x, n: x == sum(range(n)),
    ("pairs among {0}", "how many pairs among {0}"),
    ("number of pairs among {0}",),
)
OUTFITS_STORY = Form(
    lambda a, b: a * b,
    lambda x, a, b: x == sum([a] * b),
    ("{name} has {0} hats and {1} coats. How many outfits?",),
    ("{name} can take one of {0} {thing} and one of {1} bags. How many choices?",),
)
CHOOSE = Form(
    lambda n, k: comb(n, k) if n >= 0 <= k else None,
    lambda x, n, k: x == sum(1 for _ in combinations(range(n), k)),
    ("ways to choose {1} of {0}",),
    ("number of ways to pick {1} out of {0}",),
)
MULTIPLES = Form(
    lambda n, a, b: n // a + n // b - n // lcm(a, b) if a > 0 < b else None,
    lambda x, n, a, b: x == sum(1 for i in range(1, n + 1) if i % a == 0 or i % b == 0),
    ("numbers up to {0} that {1} or {2} divides",),
    ("count of the multiples of {1} or {2} up to {0}",),
)
DOUBLE = Form(
    lambda a: 2 * a,
    lambda x, a: x - a == a,
    ("double {0}", "twice {0}"),
    ("the double of {0}",),
)
LARGEST = Form(
    lambda a, b: max(a, b),
    lambda x, a, b: x in (a, b) and x >= a and x >= b,
    ("largest of {0}, {1}", "largest: {0}, {1}"),
    ("the larger one of {0} and {1}",),
)
AFTER = Form(
    lambda a: a + 1,
    lambda x, a: x - 1 == a,
    ("number after {0}", "after {0}"),
    ("the number that follows {0}",),
)
NEXT = Form(
    lambda a, b, c: 2 * c - b if b - a == c - b else None,
    lambda x, a, b, c: x - c == c - b == b - a,
    ("next: {0} {1} {2}", "{0}, {1}, {2}, ?"),
    ("what comes after {0}, {1}, {2}",),
)
NEXT_STORY = Form(
    lambda a, b, c: 2 * c - b if b - a == c - b else None,
    lambda x, a, b, c: x - c == c - b == b - a,
    ("{name} has {0} {thing}, then {1}, then {2}. Next?",),
    ("{name}'s {thing} grow steadily: {0}, {1}, {2}. How many come next?",),
)
RATIO = Form(
    lambda a, b, c: exact(c * c, b) if a * c == b * b else None,
    lambda x, a, b, c: x * b == c * c and x * a == b * c,
    ("next in ratio: {0} {1} {2}", "{0}, {1}, {2}, each times the same, next?"),
    ("what comes in ratio after {0}, {1}, {2}",),
)
SUM_OF_TWO = Form(
    lambda a, b: 2 * a + 3 * b,
    lambda x, a, b: x - (a + b + b) == a + b,
    ("each is the sum of the two before: {0} {1}, the fifth",),
    ("{0}, {1}, and each further number adds the two before it: the fifth number",),
)
