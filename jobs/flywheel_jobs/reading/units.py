"""Units and counted things behind a number: `12 cm^2`, `5 apples`, `$12`, `5 thousand`."""

from __future__ import annotations

import re
from fractions import Fraction

_SPELLINGS = {
    "metre": "m meter meters metre metres", "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres", "km": "km kilometer kilometers kilometre kilometres",
    "inch": 'in inch inches "', "foot": "ft foot feet '", "yard": "yd yard yards", "mile": "mi mile miles",
    "gram": "gram grams", "kg": "kg kilogram kilograms", "mg": "mg milligram milligrams", "lb": "lb lbs",
    "pound": "pound pounds",  # of weight or of money
    "ounce": "oz ounce ounces", "ton": "ton tons tonne tonnes", "litre": "litre litres liter liters",
    "ml": "ml mL milliliter milliliters millilitre millilitres", "gallon": "gallon gallons gal",
    "second": "sec secs second seconds", "minute": "min mins minute minutes", "hour": "hr hrs hour hours",
    "day": "day days", "week": "week weeks", "month": "month months", "year": "yr yrs year years",
    "mile/hour": "mph", "km/hour": "kph kmh",
    "°": "° degree degrees deg", "°C": "°C", "°F": "°F", "radian": "rad radian radians",
    "$": "dollar dollars USD usd bucks", "cent": "cent cents ¢", "€": "euro euros EUR €",
    "£": "GBP £", "¥": "yen ¥ yuan RMB", "rupee": "rupee rupees ₹ INR",
    "newton": "newton newtons", "joule": "joule joules", "watt": "watt watts",
    "kW": "kW", "volt": "volt volts", "kelvin": "kelvin", "Hz": "Hz hertz", "Pa": "Pa pascal pascals",
    "mol": "mol moles mole",
    "point": "point points pt pts", "unit": "unit units",
}  # fmt: skip
_KNOWN = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_SIZES: dict[str, tuple[str, Fraction]] = {
    name: (kind, Fraction(size))
    for kind, sizes in {
        "length": {"metre": "1", "cm": "0.01", "mm": "0.001", "km": "1000", "inch": "0.0254", "foot": "0.3048",
                   "yard": "0.9144", "mile": "1609.344"},
        "mass": {"kg": "1", "gram": "0.001", "mg": "0.000001", "lb": "0.45359237", "pound": "0.45359237",
                 "ounce": "0.028349523125"},
        "time": {"second": "1", "minute": "60", "hour": "3600", "day": "86400", "week": "604800"},
        "volume": {"litre": "1", "ml": "0.001"},
        "dollars": {"$": "1", "cent": "0.01"},
        "months": {"month": "1", "year": "12"},
    }.items()
    for name, size in sizes.items()
}  # fmt: skip
"""Units of one measure by what they are of its first. Not those that differ: a ton, a gallon, the days of a month."""
_AMOUNTS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+|'(?=\s*\d)|\"$)")
_ANGLE = re.compile(r"(\d{1,3})°\s*([0-5]?\d)'(?:\s*([0-5]?\d(?:\.\d+)?)\")?")
_LETTER_LAST = re.compile(r"(?<=\d)\s*([mshgL])(?=$|\s*\^)")
_LETTERS = {"m": "metre", "s": "second", "h": "hour", "g": "gram", "L": "litre"}
CURRENCIES = "$€£¥"
_FACTORS: dict[str, int | Fraction] = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "percent": Fraction(1, 100), "pct": Fraction(1, 100),
}  # fmt: skip
_STOP = frozenset(
    {"squared", "cubed", "factorial", "halves", "half", "third", "thirds", "quarter", "quarters", "fourth", "fourths",
     "fifths", "sixths", "tenths", "hundredths", "thousandths", "over", "mod", "modulo", "remainder", "plus", "minus",
     "times", "divided", "and", "not", "less", "more", "than", "least", "most", "about", "approximately", "around",
     "base", "root", "negative", "positive", "greater", "fewer", "either", "neither", "both", "each", "else",
     "undefined", "otherwise", "infinity", "power", "choose", "for", "when", "where", "with", "the", "sin", "cos",
     "score", "gross",
     "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
)  # fmt: skip
_CLAUSE = (
    "is are was were will would can could should but then because since though while from onto into off out upto until "
    "till before after below above within between without per none non nor any some zero one two three four five six "
    "seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety double twice triple "
    "only unless except also"
)
_NO_NOUN = _STOP | frozenset(_CLAUSE.split()) | _FACTORS.keys()
_PHRASE = re.compile(r"(?P<value>.*[\d)}\]]) (?P<what>[A-Za-z]{2,}(?: [A-Za-z]{2,}){1,3})")
_BESIDES = re.compile(  # words around what is counted, which say nothing of how much it is
    r"^(?:more|additional|extra|remaining) |"
    r" (?:old|long|tall|wide|deep|high|thick|away|left|remaining|altogether|in (?:total|all))$"
)
_RATE = re.compile(r"(?P<money>.*?)(?: ?/ ?| per | an? )(?P<each>[a-z]{2,})|(?P<one>.*?) each")
_WORD = r"(?:°[CF]?|¢|€|£|¥|₹|[A-Za-z]+)"
_POWERED = rf"(?:square |cubic |sq\.? )?{_WORD}(?:\s*\^\s*\{{?-?[1-9]\}}?)?"
_COUNTS = "|".join(word for word in _FACTORS if word not in ("percent", "pct"))
_UNIT = re.compile(
    rf"(?P<value>.*[\d)}}\]]|.*\\pi|.*\d (?:{_COUNTS}))\s*(?P<unit>{_POWERED}(?:\s*(?:/|per)\s*{_POWERED})?)"
)
_CURRENCY = re.compile(r"(?P<sign>-?)\s*(?P<unit>[$€£¥]|USD|EUR|GBP)\s*(?P<value>[\d.(\\].*)")
_WARM = re.compile(r"(?:°|\bdegrees?)\s*([cCfF])(?:elsius|ahrenheit)")
_LETTER = re.compile("[a-zA-Z]")
_POWER = re.compile(r"(square |cubic |sq\.? )?([^\s^]+)(?:\s*\^\s*\{?(-?[1-9])\}?)?")


def split_unit(text: str) -> tuple[str, str, Fraction]:
    """(value, unit, factor) of a folded answer; the unit is in one spelling, `factor` is of words like `thousand`."""
    text = _WARM.sub(lambda m: "°" + m[1].upper(), text)
    money = _CURRENCY.fullmatch(text)
    unit = _KNOWN.get(money["unit"], money["unit"]) if money else ""
    if money:
        text = money["sign"] + money["value"]
        rate = _RATE.fullmatch(text)
        if rate and rate["each"] not in _NO_NOUN:
            text, each = rate["money"] or rate["one"], rate["each"]
            unit += f"/{_KNOWN.get(each, each)}" if each else ""
    factor = Fraction(1)
    while (
        text and text[-1].isalpha() and (word := text.rpartition(" ")[2].lower()) in _FACTORS and word != text.lower()
    ):
        factor *= _FACTORS[word]
        text = text[: -len(word)].rstrip()
    found = _UNIT.fullmatch(text) if not unit else None
    if found is None and not unit and (phrase := _PHRASE.fullmatch(text)) and (what := _counted(phrase["what"])):
        return phrase["value"], what, factor
    if found is None or (found["unit"] == "°" and _LETTER.search(found["value"])):  # of an angle inside an expression
        return text, unit, factor
    value, named = found["value"], _unit(found["unit"], spaced=text[len(found["value"])] == " ")
    if named is None:
        return text, unit, factor
    before = value.rpartition(" ")[2].lower()
    if before in _FACTORS:
        factor *= _FACTORS[before]
        value = value[: -len(before)].rstrip()
    return value, named, factor


def _counted(words: str) -> str:
    """What a phrase behind a number counts: `years old` years, `more red marbles` red marbles; nothing for a clause."""
    what, bare = words.lower(), ""
    while what != bare:
        bare, what = what, _BESIDES.sub("", what)
    several = what.split()
    if len(several) == 1:
        return _one(what, spaced=True) or ""
    counts = all((len(w) > 2 and w not in _NO_NOUN) or w == "of" for w in several)
    return what.removesuffix("s") if counts else ""


def size(unit: str) -> tuple[str, Fraction] | None:
    """(what is measured, how many of its first unit one of these is): `km/hour` is 5/18 of a `metre/second`."""
    measured, many = [], Fraction(1)
    for place, part in enumerate(unit.split("/")):
        name, _, power = part.partition("^")
        kind, factor = _SIZES.get(name, ("", Fraction(0)))
        if not kind:
            return None
        many *= factor ** (int(power or 1) * (-1 if place else 1))
        measured.append(kind + power)
    return "/".join(measured), many


def spelt_out(text: str) -> str:
    """A text that ends with the letter of a unit, with its name: `5 m^2` as `5 metre^2`."""
    return _LETTER_LAST.sub(lambda m: f" {_LETTERS[m[1]]}", text)


def together(text: str) -> tuple[Fraction, str] | None:
    """`5 hours and 30 minutes` as 11/2 hours, `6'2"` as 37/6 feet, `5°30'` as 11/2 degrees: the largest first."""
    angle = _ANGLE.fullmatch(text)
    if angle:
        return sum((Fraction(part or 0) / 60**place for place, part in enumerate(angle.groups())), Fraction(0)), "°"
    amounts = [(Fraction(n), _KNOWN.get(word) or _LETTERS.get(word, "")) for n, word in _AMOUNTS.findall(text)]
    sizes = [size(unit) for _, unit in amounts]
    if len(amounts) < 2 or None in sizes or _AMOUNTS.sub("", text).replace("and", "").strip(" ,"):
        return None
    (kind, largest), *others = [s for s in sizes if s is not None]
    above = largest
    total = amounts[0][0] * largest
    for (many, _), (measure, one) in zip(amounts[1:], others, strict=True):
        if measure != kind or one >= above or many * one >= above:
            return None
        total, above = total + many * one, one
    return total / largest, amounts[0][1]


def _unit(text: str, spaced: bool) -> str | None:
    """A unit in one spelling; None for a word that is none."""
    given = [part.strip() for part in re.split(r"/|\bper\b", text)]
    if len(given) == 2 and spaced:  # alone, `5 m` is five times m
        given = [
            _LETTERS.get(part[:1], part[:1]) + part[1:] if len(part.split("^")[0]) == 1 else part for part in given
        ]
    parts = [_one(part, spaced) for part in given]
    return "/".join(p for p in parts if p) if all(parts) else None


def _one(text: str, spaced: bool) -> str | None:
    match = _POWER.fullmatch(text)
    if match is None:
        return None
    prefix, word, power = match.groups()
    if prefix:
        power = "2" if prefix.startswith("sq") else "3"
    known = _KNOWN.get(word) or _KNOWN.get(word.lower()) if len(word) > 1 or not word.isascii() else None
    if known is None:
        if not (spaced and len(word) >= 3 and word.isalpha() and word.lower() not in _STOP):
            return None
        known = word.lower().removesuffix("s")  # a counted thing: apples
    return known if power in (None, "1") else f"{known}^{power}"
