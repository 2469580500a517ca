"""Chained rounds in minutes, outside the cluster.

A real small model, the project's families, band, reward and advantages, and the one update a step that its CPU training
makes. What recipes of rounds differ in shows here before a
cluster trains for it. `python -m climb --help`; what came out: docs/evidence.
"""
