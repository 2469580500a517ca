"""The reasoning track's domain: families with exact answers, what is asked of the teacher, dedup and
decontamination.
"""
