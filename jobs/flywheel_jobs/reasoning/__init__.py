"""The reasoning track: what is asked of the teacher, answers, dedup and decontamination."""
