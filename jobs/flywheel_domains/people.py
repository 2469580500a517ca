"""Made-up names of people, for generated rows and for travellers in wishes."""

from __future__ import annotations

import random
import unicodedata

FIRST = (
    "Ada", "Adem", "Aino", "Alba", "Amara", "Anouk", "Aron", "Beate", "Bela", "Bruno", "Carla", "Cato", "Dalia",
    "Dario", "Edda", "Elif", "Emil", "Enzo", "Esra", "Fadi", "Fenja", "Finn", "Gaia", "Goran", "Hana", "Hugo",
    "Ida", "Ilya", "Ines", "Ivo", "Jana", "Joris", "Juna", "Kaan", "Kira", "Lars", "Lea", "Levin", "Lina", "Luan",
    "Maja", "Malik", "Mara", "Milo", "Mina", "Nadia", "Nils", "Noor", "Olek", "Olga", "Oskar", "Paula", "Pelle",
    "Rana", "Remi", "Rosa", "Runa", "Sami", "Selma", "Silas", "Tala", "Tarik", "Thea", "Timo", "Uma", "Vera",
    "Viggo", "Wanda", "Yara", "Yves", "Zoe",
)  # fmt: skip
LAST = (
    "Abend", "Acker", "Aldous", "Amsel", "Arends", "Baltes", "Barros", "Bekker", "Birk", "Blom", "Brandt", "Cordes",
    "Dahl", "Delgado", "Dorn", "Eberle", "Ekman", "Engel", "Falk", "Farkas", "Fink", "Gerber", "Grau", "Haas",
    "Hald", "Herzog", "Holm", "Ivers", "Jansen", "Jung", "Kaya", "Keller", "Kirsch", "Klein", "Korn", "Kranz",
    "Lange", "Lindt", "Lopes", "Lund", "Maas", "Marek", "Mertens", "Moll", "Nagy", "Noll", "Novak", "Olsen",
    "Ortiz", "Otte", "Pauli", "Petrov", "Quast", "Rahn", "Reis", "Riedel", "Roth", "Sahin", "Sand", "Schell",
    "Stahl", "Stern", "Thal", "Toth", "Ulmer", "Vogt", "Voss", "Wagner", "Weiss", "Wirth", "Yildiz", "Zander",
    "Zech",
)  # fmt: skip


def person(rng: random.Random, part: str = "full") -> str:
    """A name: full, first or last."""
    if part == "first":
        return rng.choice(FIRST)
    if part == "last":
        return rng.choice(LAST)
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def email(name: str, number: int) -> str:
    """An address of somebody of that name: small letters, on a domain that nobody can own."""
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    letters = "".join(letter if letter.isalnum() else "." for letter in text).strip(".")
    return f"{letters or 'nobody'}{number}@mail.example"
