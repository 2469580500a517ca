"""The records in the files of manifests: one family, each with its schema, its id and its lineage.

`base` holds what all of them share, `reasoning` problems, samples and votes, `agentic` trees and tasks, `trajectory`
the one record of an episode, `evaluation` the rows of evaluations and gates, `prompt` the rows that verl trains on.
"""
