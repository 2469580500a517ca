"""Evaluation of base and candidate: the same items, environments, parser and rewards as training; paired intervals."""
