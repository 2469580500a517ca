"""Sketches of texts and a search for those nearly alike: MinHash with locality-sensitive hashing.

A sketch is 128 minima; 16 bands of 8 of them are looked up, which finds 95 % of pairs at a Jaccard similarity of 0.8
and nearly all above. rensa makes the minima (in Rust); its own search takes 2 KB a text, this one 0.4 KB. The tables
are arrays in segments of growing size, so that few texts cost little and many stay flat in time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

PERMUTATIONS = 128  # standard error of the Jaccard estimate about 0.04 at 0.8
BANDS = 16
SEED = 20260117
FIRST = 1 << 8  # texts of the first segment
GROWTH = 8  # times as many in each next one
CROWD = 64  # texts of a band that are compared at most: the newest
_BAND = np.arange(BANDS)
_ODD = np.random.RandomState(SEED).randint(1, 1 << 62, size=(BANDS, PERMUTATIONS // BANDS), dtype=np.uint64) * 2 + 1


class _Segment:
    def __init__(self, capacity: int) -> None:
        self.shift = np.uint64(64 - capacity.bit_length())  # slots: twice the texts
        self.count, self.capacity = 0, capacity
        self.sketches = np.empty((capacity, PERMUTATIONS), dtype=np.uint16)
        self.heads = np.full((BANDS, 2 * capacity), -1, dtype=np.int32)
        self.before = np.empty((BANDS, capacity), dtype=np.int32)

    def alike(self, sketch: NDArray[np.uint16], bands: NDArray[np.uint64], least: float) -> bool:
        """Whether a text is in here whose sketch shares a band and more than `least` of the minima."""
        at = self.heads[_BAND, bands >> self.shift]
        band = _BAND
        for _ in range(CROWD):
            there = at >= 0
            at, band = at[there], band[there]
            if not len(at):
                return False
            if ((self.sketches[at] == sketch).sum(axis=1) > least).any():
                return True
            at = self.before[band, at]
        return False

    def add(self, sketch: NDArray[np.uint16], bands: NDArray[np.uint64]) -> None:
        """Takes a text."""
        slots = bands >> self.shift
        self.sketches[self.count] = sketch
        self.before[:, self.count] = self.heads[_BAND, slots]
        self.heads[_BAND, slots] = self.count
        self.count += 1


class Neighbours:
    """Texts so far, as sets of n-grams."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: Jaccard similarity above which two texts are nearly alike."""
        self._least = threshold * PERMUTATIONS
        self._segments = [_Segment(FIRST)]

    def add(self, grams: Iterable[str], kind: int) -> bool:
        """Takes a text unless it is nearly alike one of its kind (any 64-bit number); whether it was taken."""
        made = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
        made.update(list(grams))
        minima = np.array(made.digest(), dtype=np.uint64)
        # a text of another kind gets another sketch: it shares neither band nor minima
        minima ^= np.uint64((kind * 0x9E3779B97F4A7C15) & 0xFFFFFFFF)
        bands = (minima.reshape(BANDS, -1) * _ODD).sum(axis=1, dtype=np.uint64)
        sketch = (minima & np.uint64(0xFFFF)).astype(np.uint16)
        if any(segment.alike(sketch, bands, self._least) for segment in self._segments):
            return False
        newest = self._segments[-1]
        if newest.count == newest.capacity:
            newest = _Segment(GROWTH * newest.capacity)
            self._segments.append(newest)
        newest.add(sketch, bands)
        return True
