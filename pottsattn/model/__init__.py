"""Potts models: couplings, graphs, ensembles, and exact answers."""
