"""Sampling of Potts models: kernels, schedules, diagnostics."""
