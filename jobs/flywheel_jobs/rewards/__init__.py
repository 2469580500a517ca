"""Rewards of both tracks: used by training and by evaluation alike; no torch."""
