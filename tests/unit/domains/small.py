"""A domain of one page: a bicycle shed. Tests change lines of it."""

from __future__ import annotations

from pathlib import Path

SHED = """\
format: flywheel.dev/domain/v1
domain: shed
clock: {now: "2031-03-14T10:00"}
types:
  state: [free, lent]
tables:
  people:
    rows: 6
    columns:
      id: {gen: {code: "P##"}}
      name: {type: string, gen: {name: full}}
      email: {type: string, fold: case, gen: {email: name}}
      credit: {type: money, gen: {range: [0, 5000]}}
    check: [it.credit >= 0]
  bikes:
    rows: 8
    columns:
      id: {gen: {seq: "B%d"}}
      state: {type: state, gen: {weights: {free: 2, lent: 1}}}
      fee: {type: money, gen: {pick: [300, 700]}}
  loans:
    per: {people: [0, 2], as: person}
    columns:
      id: {gen: {seq: "L%d"}}
      bike: {ref: bikes}
      due: {type: datetime, gen: {hours: [-48, 48]}}
      note: {type: text, nullable: true, compare: ignore, gen: {value: null}}
lookups:
  late: "(l): l.due < now"
views:
  person: {of: people, show: [id, name, credit], with: {loans: [id, bike, due]}}
  bike: {of: bikes, show: [id, state, fee]}
tools:
  find_person:
    about: Find a person by e-mail.
    read: {one: people, where: it.email == fold(email), show: person, none: no_such_person}
    args: {email: {type: string}}
    proves: caller == it
  get_bike: {about: Show a bike., read: {get: bikes, key: bike_id, show: bike}, args: {bike_id: {ref: bikes}}}
  free_bikes:
    about: List bikes up to a fee.
    read: {all: bikes, where: "it.state == 'free' and it.fee <= most", sort: it.fee, limit: 3, show: bike}
    args: {most: {type: money}}
  lend:
    about: Lend a bike.
    write: true
    repeat: refuse
    args: {person_id: {ref: people}, bike_id: {ref: bikes}, hours: {type: int, min: 1, max: 72}}
    let: {p: "row('people', person_id)", k: "row('bikes', bike_id)"}
    refuse:
      - {if: "k.state != 'free'", error: not_free}
    do:
      - {add: loans, as: l, row: {person: p.id, bike: k.id, due: now + hours(hours)}}
      - {set: k, to: {state: "'lent'"}}
      - {set: p, to: {credit: it.credit - k.fee}}
    show: {person: p}
rules:
  - {id: late, for: [lend], when: any(late(l) for l in p.loans), verdict: deny, say: Who is late borrows nothing.}
wishes:
  borrow:
    goal: lend
    slots: {person_id: caller, bike_id: {any: bikes}, hours: {range: [1, 72]}}
    words: ["Lend me {bike_id}."]
callers:
  mine: {share: 1, knows: [email]}
personas:
  - {id: baker, trade: baker}
"""


def line_of(text: str, part: str) -> int:
    """The line on which something stands."""
    return text[: text.index(part)].count("\n") + 1


def changed(old: str, new: str, text: str = SHED) -> str:
    """The domain with one thing changed."""
    assert text.count(old) == 1, (old, text.count(old))
    return text.replace(old, new)


def write(folder: Path, text: str = SHED, code: str | None = None) -> Path:
    """The domain as a package."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.yaml").write_text(text)
    if code is not None:
        (folder / "tools.py").write_text(code)
    return folder
