"""Units and counted things behind a number: `12 cm^2`, `5 apples`, `$12`, `5 thousand`."""

from __future__ import annotations

import re
from collections import Counter
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
    "kW": "kW kilowatt kilowatts", "Hz": "Hz hertz", "Pa": "Pa pascal pascals", "mol": "mol moles mole",
    "point": "point points pt pts", "unit": "unit units",
}  # fmt: skip
_KNOWN = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_PREFIXES = {
    "": ("", 0), "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3), "milli": ("m", -3), "micro": ("μ", -6),
    "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15),
}  # fmt: skip
_MEASURES = {
    "metre meter": ("m", "length", "1"), "gram": ("g", "mass", "0.001"), "second": ("s", "time", "1"),
    "litre liter": ("L", "volume", "1"), "joule": ("J", "energy", "1"), "newton": ("N", "force", "1"),
    "watt": ("W", "power", "1"), "volt": ("V", "voltage", "1"), "pascal": ("Pa", "pressure", "1"),
    "hertz": ("Hz", "frequency", "1"), "ampere amp": ("A", "current", "1"), "coulomb": ("C", "charge", "1"),
    "farad": ("F", "capacitance", "1"), "tesla": ("T", "field", "1"), "kelvin": ("K", "temperature", "1"),
    "ohm": ("Ω", "resistance", "1"), "mole": ("mol", "amount", "1"), "electronvolt": ("eV", "electronvolts", "1"),
    "calorie": ("cal", "calories", "1"), "molar": ("M", "concentration", "1"),
}  # fmt: skip
"""Units of science by their names: the symbol, what is measured, and how many of its first unit one is."""
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
SYMBOLS: dict[str, str] = {"h": "hour", "l": "litre"}
"""Symbols of units by their names. Outside of text most of them are variables: `5 nm` is five times n times m."""
_UNAMBIGUOUS = frozenset(("kJ", "MJ", "kPa", "MPa", "GPa", "kHz", "MHz", "GHz", "eV", "keV", "MeV", "GeV", "kcal"))
for _names, (_symbol, _kind, _size) in _MEASURES.items():
    for _prefix, (_letter, _power) in _PREFIXES.items():
        _spellings = [f"{_prefix}{_name}{_end}" for _name in _names.split() for _end in ("", "s")]
        _unit_name = next((_KNOWN[s] for s in _spellings if s in _KNOWN), _spellings[0])
        _KNOWN |= dict.fromkeys(_spellings, _unit_name)
        _SIZES.setdefault(_unit_name, (_kind, Fraction(_size) * Fraction(10) ** _power))
        if _letter + _symbol in _UNAMBIGUOUS:
            _KNOWN[_letter + _symbol] = _unit_name
        if _letter + _symbol not in _KNOWN and _letter + _symbol != "pm":  # of five o'clock
            SYMBOLS[_letter + _symbol] = _spellings[0]
SYMBOLS |= {"m": "metre", "Ohm": "ohm"}
_AMOUNTS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+|'(?=\s*\d)|\"$)")
_ANGLE = re.compile(r"(\d{1,3})°\s*([0-5]?\d)'(?:\s*([0-5]?\d(?:\.\d+)?)\")?")
_UNIT_WORD = r"[a-zA-ZμΩ]+"
_TAIL = re.compile(r"(?<=[\d)}\]])\s*(?P<unit>[a-zA-ZμΩ][a-zA-ZμΩ\d\s^{}*/()-]*)$")
_FACTOR = re.compile(rf"\s*([*/]?)\s*({_UNIT_WORD})(?:\s*\^\s*\{{?(-?\d)\}}?)?\s*")
_OHMS = re.compile(r"(?<=\d)\s*\\Omega$")
_UNDER = re.compile(r"/\s*\(([^()/]*)\)")
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
    r"^(?:more|additional|extra|remaining|of (?:the|an?|his|her|its|their)) |"
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
    if not unit and (product := _compound(text)) is not None:
        return *product, factor
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
    measured, many = Counter[str](), Fraction(1)
    for place, under in enumerate(unit.split("/")):
        for part in under.split("*"):
            name, _, power = part.partition("^")
            kind, factor = _SIZES.get(name, ("", Fraction(0)))
            if not kind:
                return None
            signed = int(power or 1) * (-1 if place else 1)
            many *= factor**signed
            measured[kind] += signed
    return "*".join(f"{kind}^{power}" for kind, power in sorted(measured.items()) if power), many


def spelt_out(text: str) -> str:
    """A text that ends with symbols of units, with their names: `5 m^2` as `5 metre^2`, `5 nm` as `5 nanometre`."""
    text = _OHMS.sub("Ω", text)
    tail = _TAIL.search(text)
    if tail is None or not all(word in SYMBOLS or word in _KNOWN for word in re.findall(_UNIT_WORD, tail["unit"])):
        return text
    return f"{text[: tail.start()]} {re.sub(_UNIT_WORD, lambda m: SYMBOLS.get(m[0], m[0]), tail['unit'])}"


def _compound(text: str) -> tuple[str, str] | None:
    """A value and the product of units behind it: `5 joule mol^{-1} kelvin^{-1}` and `5 joule/(mol kelvin)`."""
    tail = _TAIL.search(text)
    flat = _UNDER.sub(lambda m: "/" + "/".join(re.split(r"[\s*]+", m[1].strip())), tail["unit"]) if tail else ""
    factors = _FACTOR.findall(flat)
    if tail is None or _FACTOR.sub("", flat) or not all(_KNOWN.get(word, "") in _SIZES for _, word, _ in factors):
        return None
    under = [sign == "/" for sign, _, _ in factors]
    if under != sorted(under):
        return None  # `a/b c` is read in two ways
    powers = Counter[str]()
    for sign, word, power in factors:
        powers[_KNOWN[word]] += int(power or 1) * (-1 if sign == "/" else 1)
    above = [name + f"^{n}" * (n > 1) for name, n in sorted(powers.items()) if n > 0]
    below = [name + f"^{-n}" * (n < -1) for name, n in sorted(powers.items()) if n < 0]
    return (text[: tail.start()], "/".join(("*".join(above), *below))) if above else None


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


def _known(word: str) -> str | None:
    """The unit of a word in whatever letters, but that mega is not milli: 5 Mm are no 5 mm."""
    if word[0] == "M" and word[1:].islower() and word in SYMBOLS:
        return SYMBOLS[word]
    return _KNOWN.get(word) or _KNOWN.get(word.lower())


def _one(text: str, spaced: bool) -> str | None:
    match = _POWER.fullmatch(text)
    if match is None:
        return None
    prefix, word, power = match.groups()
    if prefix:
        power = "2" if prefix.startswith("sq") else "3"
    known = _known(word) if len(word) > 1 or not word.isascii() else None
    if known is None:
        if not (spaced and len(word) >= 3 and word.isalpha() and word.lower() not in _STOP):
            return None
        known = word.lower().removesuffix("s")  # a counted thing: apples
    return known if power in (None, "1") else f"{known}^{power}"
