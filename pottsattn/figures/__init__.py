"""Figures of results; they compute nothing."""
