"""Replica-method learning curves. Knows nothing of samplers, fits, torch or data sets."""
