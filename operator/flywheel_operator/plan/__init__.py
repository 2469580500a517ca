"""Decisions as functions of values (law 2): no I/O, no clock, no randomness."""
