"""What every part of the jobs stands on: errors with a cause, back-off, logs with redaction, the code's version."""
