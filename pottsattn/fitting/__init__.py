"""Inference of Potts models: pseudo-likelihood solvers and masked modeling."""
