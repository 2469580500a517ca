"""What a training and a round need and cost: memory by part, disk, traffic, time, GPU-hours, tokens. Pure arithmetic.

Every constant says where it is from: a published run (named by `owner/repo#number` or path), our own measurement on one
H200 (docs/recipes.md, docs/evidence/gpu), or reading of verl 0.9.1's code. tests/unit/api/test_capacity.py holds the
formulas against both kinds of rows and states how far they may be off. GB is 1e9 bytes, GiB 2^30.
"""
