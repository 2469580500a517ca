"""Benchmarks: they print ratios and write JSON, and never fail because a machine is slow. `make bench`."""
