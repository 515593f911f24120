"""What every room stands on, and nothing of the field: checks, storage, threads, terminal."""
