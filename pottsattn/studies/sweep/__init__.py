"""Experiments against theory: a grid of sample, fit and compare, and what it says."""
