"""Expressions of a folded answer: parsed whole or not at all, and their exact value where arithmetic alone gives one.

Everything is bounded (tokens, depth, exponents), so that no text can hold the interpreter.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

Node = tuple[Any, ...]
"""`("n", Fraction)`, `("v", name)`, `("c", constant)`, or an operator and its operands."""

MAX_TOKENS = 160
MAX_DEPTH = 40
MAX_POWER = 4096  # bits of a power in exact arithmetic; beyond it values are floating

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[a-zA-Z]+|\\.|[a-zA-Z]+|\S)")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "asin", "acos", "atan", "sinh", "cosh",
     "tanh", "exp", "ln", "lg", "log", "sqrt", "abs"}
)  # fmt: skip
_NO_VARIABLES = frozenset({"and", "or", "not", "no", "if", "of", "the", "are", "was", "on", "so"})
_ALIAS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo"}
_GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
     "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma",
     "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell"}
)  # fmt: skip


class Unreadable(ValueError):
    """Not an expression that is understood as a whole, or one too large to evaluate."""


def parse(text: str) -> Node:
    """The expression. Raises Unreadable unless every character of it is understood."""
    parser = _Parser(_tokens(text))
    node = parser.sum(0)
    if parser.peek() is not None:
        raise Unreadable(text)
    return node


def _tokens(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    if len(tokens) > MAX_TOKENS or not tokens:
        raise Unreadable("empty or too long")
    return [t for token in tokens for t in _letters(token)]


def _letters(token: str) -> list[str]:
    """A run of letters: a function, a constant, or up to three variables side by side."""
    if not token.isalpha() or len(token) == 1 or not token.isascii():
        return [token]
    if token.lower() in _FUNCTIONS or token.lower() in ("pi", "infinity", "inf"):
        return ["\\" + token.lower()]
    if len(token) > 3 or token in _NO_VARIABLES or (len(token) == 2 and token[0] == "d"):  # dx is no d times x
        raise Unreadable(token)
    return list(token)


class _Parser:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> str | None:
        """The next token, or None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise Unreadable("it breaks off")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise Unreadable(f"no {token}")

    def sum(self, depth: int) -> Node:
        """Terms with + and -."""
        if depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        sign = self.peek()
        if sign in ("+", "-"):
            self._next()
        node = self._product(depth)
        if sign == "-":
            node = ("neg", node)
        while self.peek() in ("+", "-"):
            operator = self._next()
            right = self._product(depth)
            node = ("+", node, right if operator == "+" else ("neg", right))
        return node

    def _product(self, depth: int) -> Node:
        node = self._power(depth)
        while (token := self.peek()) is not None:
            if token in ("*", "/"):
                self._next()
                negative = self.peek() == "-"
                if negative:
                    self._next()
                right = self._power(depth)
                node = (token, node, ("neg", right) if negative else right)
            elif self._begins(token):
                node = ("*", node, self._power(depth))
            else:
                break
        return node

    @staticmethod
    def _begins(token: str) -> bool:
        """Whether a token can be the right side of a product without a sign. A number cannot: `5 6` is no 30."""
        return token.isalpha() or token in ("(", "{") or (token[0] == "\\" and token[1:].isalpha()) or token in "⌊⌈"

    def _power(self, depth: int) -> Node:
        node = self._postfix(self._atom(depth))
        if self.peek() == "^":
            self._next()
            node = ("^", node, self._exponent(depth))
            node = self._postfix(node)
        return node

    def _exponent(self, depth: int) -> Node:
        if self.peek() == "-":
            self._next()
            return ("neg", self._exponent(depth + 1))
        node = self._atom(depth + 1)
        if self.peek() == "^":  # a tower binds to the right
            self._next()
            node = ("^", node, self._exponent(depth + 1))
        return node

    def _postfix(self, node: Node) -> Node:
        while (token := self.peek()) in ("!", "%", "°"):
            self._next()
            node = {
                "!": ("f", "factorial", node),
                "%": ("/", node, ("n", Fraction(100))),
                "°": ("*", node, ("/", ("c", "pi"), ("n", Fraction(180)))),
            }[str(token)]
        return node

    def _atom(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        token = self._next()
        if token[0].isdecimal() or (token[0] == "." and len(token) > 1):
            return ("n", Fraction(token))
        if token in ("(", "{", "[", "⌊", "⌈", "|"):
            return self._bracketed(token, depth)
        if token.isalpha() and token.isascii():
            return self._named(token, depth)
        if token[0] == "\\" and token[1:].isalpha():
            return self._command(token[1:], depth)
        raise Unreadable(token)

    def _bracketed(self, opening: str, depth: int) -> Node:
        node = self.sum(depth + 1)
        self._expect({"(": ")", "{": "}", "[": "]", "⌊": "⌋", "⌈": "⌉", "|": "|"}[opening])
        wrapped = {"⌊": "floor", "⌈": "ceil", "|": "abs"}.get(opening)
        return ("f", wrapped, node) if wrapped else node

    def _named(self, name: str, depth: int) -> Node:
        if name == "f" and self.peek() == "(":  # of a function that nobody knows: `f(2)` is no twice f
            return ("f", "f", self._bracketed(self._next(), depth))
        if name in ("e", "i") and self.peek() != "_":
            return ("c", name)
        return ("v", name + self._subscript())

    def _subscript(self) -> str:
        if self.peek() != "_":
            return ""
        self._next()
        return "_" + "".join(self._group())

    def _group(self) -> list[str]:
        """The tokens of an argument: those in braces, or one."""
        token = self._next()
        if token != "{":
            return [token]
        inner: list[str] = []
        while (token := self._next()) != "}":
            if token == "{":
                raise Unreadable("nested subscript")
            inner.append(token)
        return inner

    def _command(self, name: str, depth: int) -> Node:
        if name == "frac":
            top = self._argument(depth)
            return ("/", top, self._argument(depth))
        if name == "binom" or name == "dbinom" or name == "tbinom":
            top = self._argument(depth)
            return ("binom", top, self._argument(depth))
        if name == "sqrt":
            return self._root(depth)
        if name in _FUNCTIONS:
            return self._function(_ALIAS.get(name, name), depth)
        if name in _CONSTANTS:
            return ("c", _CONSTANTS[name])
        if name in _GREEK:
            return ("v", name + self._subscript())
        raise Unreadable(name)

    def _argument(self, depth: int) -> Node:
        """An argument of a LaTeX command: braces, or the next digit or token."""
        token = self.peek()
        if token is not None and token.isdecimal() and len(token) > 1:
            self._tokens[self._at : self._at + 1] = list(token)  # \\frac12 is a half
        return self._atom(depth + 1)

    def _root(self, depth: int) -> Node:
        index: Node = ("n", Fraction(2))
        if self.peek() == "[":
            self._next()
            index = self.sum(depth + 1)
            self._expect("]")
        return ("root", self._atom(depth + 1), index)

    def _function(self, name: str, depth: int) -> Node:
        base, power = None, None
        while self.peek() in ("_", "^"):
            if self._next() == "_":
                base = self._atom(depth + 1)
            else:
                power = self._exponent(depth)
        if base is not None and name != "log":
            raise Unreadable("a base")
        argument = self._operand(depth)
        if power == ("neg", ("n", Fraction(1))):
            return ("f", "arc" + name, argument)
        node: Node = ("f", name, argument) if base is None else ("log", argument, base)
        return ("^", node, power) if power is not None else node

    def _operand(self, depth: int) -> Node:
        """What a function without brackets applies to: a product up to the next function, such as `2x`."""
        if self.peek() in ("(", "{", "|", "["):
            return self._postfix(self._atom(depth + 1))
        node = self._power(depth + 1)
        while (token := self.peek()) is not None and self._begins(token) and token not in ("(", "{"):
            if token[1:] in _FUNCTIONS:
                break
            node = ("*", node, self._power(depth + 1))
        return node


# ---- what an expression is made of -----------------------------------------------------------------------------------
def names(node: Node) -> frozenset[str]:
    """The variables of an expression."""
    if node[0] == "v":
        return frozenset({node[1]})
    return frozenset().union(*(names(part) for part in node[1:] if isinstance(part, tuple)))


def rational(node: Node) -> Fraction | None:
    """The exact value of an expression that has a rational one by arithmetic alone; None otherwise."""
    match node:
        case ("n", value):
            return Fraction(value)
        case ("neg", inner):
            found = rational(inner)
            return None if found is None else -found
        case ("+" | "*" | "/" | "^", one, other):
            a, b = rational(one), rational(other)
            return None if a is None or b is None else _arithmetic(node[0], a, b)
    return None


def _arithmetic(operator: str, a: Fraction, b: Fraction) -> Fraction | None:
    if operator == "+":
        return a + b
    if operator == "*":
        return a * b
    if operator == "/":
        return a / b if b else None
    whole = b.denominator == 1 and abs(b.numerator) * max(1, a.numerator.bit_length(), a.denominator.bit_length())
    return a**b.numerator if whole is not False and whole <= MAX_POWER and (a or b > 0) else None


def unfinished(node: Node) -> bool:
    """A computation that was not carried out, such as `5+3` or `37*41`: as an answer it is the question."""
    kinds = _kinds(node)
    return bool(kinds & {"+", "*"}) and kinds <= {"n", "neg", "+", "*", "/"}


def _kinds(node: Node) -> frozenset[str]:
    inner = (_kinds(part) for part in node[1:] if isinstance(part, tuple))
    return frozenset({node[0]}).union(*inner)
