"""Replica equations of several heads: matrices over colors, and their curves."""
