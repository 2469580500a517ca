"""What users bring: files of any kind, rows of any shape, records of ours made of them."""
