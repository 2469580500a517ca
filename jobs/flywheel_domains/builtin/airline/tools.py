"""The one search of the airline that declarations do not reach: pairs of flights, joined on times.

A function gets `db` (read-only rows), `now` and the call's arguments, and returns plain data. It keeps no state, reads
no clock and draws no random number.
"""

from datetime import timedelta


def one_stop(db, now, origin, destination, date):
    """Pairs of open flights with one stop, one to six hours between the departures, soonest second flight first."""
    flights = [flight for flight in db.rows("flights") if flight.status == "planned"]
    firsts = [flight for flight in flights if flight.origin.id == origin and flight.leaves.date() == date]
    seconds = [flight for flight in flights if flight.destination.id == destination]
    pairs = [(a, b) for a in firsts for b in seconds if b.origin == a.destination and _joins(a, b)]
    pairs.sort(key=lambda pair: (pair[1].leaves, pair[0].leaves, pair[0].id))
    return [{"first": first, "second": second} for first, second in pairs[:10]]


def _joins(first, second):
    return timedelta(hours=1) <= second.leaves - first.leaves <= timedelta(hours=6)
