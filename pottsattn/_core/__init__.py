"""What every room stands on, and nothing of the field: checks, verdicts, storage, terminal."""
