"""The one search of the airline that declarations do not reach: pairs of flights, joined on times.

A function gets `db` (read-only rows), `now` and the call's arguments, and returns plain data. It keeps no state, reads
no clock and draws no random number.
"""

from datetime import timedelta


def one_stop(db, now, origin, destination, date):
    """Pairs of open flights with one stop, one to six hours between the departures, soonest arrival at the end."""
    pairs = []
    for first in db.rows("flights"):
        if first.origin.id != origin or first.leaves.date() != date or first.status != "planned":
            continue
        for second in db.rows("flights"):
            wait = second.leaves - first.leaves
            joins = second.origin == first.destination and second.destination.id == destination
            if joins and second.status == "planned" and timedelta(hours=1) <= wait <= timedelta(hours=6):
                pairs.append((second.leaves, first.id, second.id))
    return [{"first": first, "second": second} for _, first, second in sorted(pairs)][:10]
