"""Masked modeling and pseudo-likelihood are one function with one optimum, shown on data."""
