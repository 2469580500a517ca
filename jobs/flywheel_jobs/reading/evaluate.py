"""Values of expressions at sample points, by which they are told apart.

Two expressions are the same when they have the same value, to AGREE digits, at every one of POINTS points of their
variables. A variable's value is fixed by its name, so that it is the same in every expression. At the first points all
are positive; at the others some are not, and there only values that are real count: |x| is no x, while the domains of
ln(x^2) and of 2 ln x are not compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flywheel_jobs.reading.expr import Node, Unreadable

DIGITS, AGREE = 60, 40
POINTS, POSITIVE = 4, 2
_INFINITE = float("inf")
_PERIODIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_PLAIN = frozenset({"ln", "sqrt", "floor", "ceil", "sinh", "cosh", "tanh"})
_INVERSE = frozenset({"arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh"})


@dataclass(frozen=True)
class Values:
    """The values of an expression at the sample points; mpmath's numbers, which have no types."""

    at: tuple[Any, ...]

    def same(self, other: Values) -> bool:
        """Equal to AGREE digits at every point."""
        return all(_close(a, b) for a, b in self._beside(other))

    def within(self, size: Fraction) -> bool:
        """Real and no further from nought than `size` at every point."""
        return all(abs(a) <= size.numerator / size.denominator * (1 + 1e-12) for a in self.at)

    def proportional(self, other: Values) -> int:
        """The sign of k where other = k * self at every point with a real k; 0 where there is no such k."""
        pairs = self._beside(other)
        ratios = [b / a for a, b in pairs if 1e-30 < abs(a) < _INFINITE]
        if len(ratios) < len(pairs) or not all(_close(ratios[0], r) for r in ratios) or abs(ratios[0].imag) > 1e-30:
            return 0
        return int(ratios[0].real > 0) - int(ratios[0].real < 0)

    def _beside(self, other: Values) -> list[tuple[Any, Any]]:
        pairs = list(zip(self.at, other.at, strict=True))
        return pairs[:POSITIVE] + [(a, b) for a, b in pairs[POSITIVE:] if not a.imag and not b.imag]


def _close(a: Any, b: Any) -> bool:
    size = max(abs(a), abs(b))
    return bool(a == b or (size < _INFINITE and abs(a - b) <= size * 10.0**-AGREE))


@lru_cache(maxsize=4096)
def values(node: Node) -> Values:
    """The values of an expression. Raises Unreadable where it has none, or none that can be computed."""
    import mpmath  # a tenth of a second that most processes need not wait for

    try:
        with mpmath.workdps(DIGITS):
            found = tuple(mpmath.mpmathify(_value(mpmath.mp, node, point)) for point in range(POINTS))
            if any(mpmath.isnan(v) for v in found):
                raise Unreadable("no value")
            return Values(found)
    except (ArithmeticError, ValueError, TypeError, RecursionError, NotImplementedError) as error:
        raise Unreadable(str(error)) from error


@lru_cache(maxsize=1024)
def _sample(name: str, point: int) -> Fraction:
    """The value of a variable at a point: negative at one of the last two; neighbours in the alphabet take turns."""
    digest = hashlib.sha256(f"{name}/{point}".encode()).digest()
    size = Fraction(int.from_bytes(digest[:12], "big"), 1 << 96) * 3 + Fraction(1, 3)
    return -size if point == POSITIVE + ord(name[-1]) % 2 else size


def _value(mp: Any, node: Node, point: int) -> Any:
    match node:
        case ("n", number):
            return mp.mpf(number.numerator) / number.denominator
        case ("v", name):
            found = _sample(name, point)
            return mp.mpf(found.numerator) / found.denominator
        case ("c", name):
            return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1), "oo": mp.inf}[name]
        case ("neg", inner):
            return -_value(mp, inner, point)
        case ("f", "f", inner):  # any function will do that has no laws
            argument = _bounded(_value(mp, inner, point), 1e8)
            return mp.cos(argument) + argument**3 * _value(mp, ("v", "f"), point)
        case ("f", name, inner):
            return _apply(mp, name, _value(mp, inner, point))
        case (operator, one, other):
            return _combined(mp, operator, _value(mp, one, point), _value(mp, other, point))
    raise Unreadable(str(node[0]))


def _combined(mp: Any, operator: str, one: Any, other: Any) -> Any:
    match operator:
        case "+":
            return one + other
        case "*":
            return one * other
        case "/":
            return one / other
        case "^":
            return _power(mp, one, other)
        case "root":
            return _root(mp, one, other)
        case "log":
            return mp.log(one) / mp.log(other)
        case "binom":
            return mp.binomial(_bounded(one), _bounded(other))
    raise Unreadable(operator)


def _bounded(value: Any, limit: float = 1e6) -> Any:
    if not abs(value) <= limit:
        raise Unreadable("too large")
    return value


def _power(mp: Any, base: Any, exponent: Any) -> Any:
    if base and not abs(exponent) * (1 + abs(mp.log(abs(base)))) <= 1e8:
        raise Unreadable("too large")
    return mp.power(base, exponent)


def _root(mp: Any, value: Any, index: Any) -> Any:
    if index == 2:
        return mp.sqrt(value)
    if not value.imag and value.real < 0 and index == int(index) and index % 2:
        return -mp.root(-value, int(index))  # the real root of a negative number
    return _power(mp, value, 1 / index)


def _apply(mp: Any, name: str, value: Any) -> Any:
    match name:
        case "log":  # of which base is not said: neither ln nor lg, but its own laws hold
            return mp.log(value) * mp.mpf("1.2345678901234567")
        case "lg":
            return mp.log(value) / mp.log(10)
        case "exp":
            return mp.exp(_bounded(value, 1e8))
        case "abs":
            return abs(value)
        case "factorial":
            return mp.factorial(_bounded(value))
    if name in _PERIODIC:
        return getattr(mp, name)(_bounded(value, 1e30))
    if name in _PLAIN:
        return getattr(mp, name)(value)
    if name in _INVERSE:
        return getattr(mp, name.replace("arc", "a"))(value)
    raise Unreadable(name)
