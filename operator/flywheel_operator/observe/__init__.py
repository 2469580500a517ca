"""Turns what the ports answer into frozen views that the planner reads."""
