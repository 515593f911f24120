"""Pseudo-likelihood solvers: site by site, joint, with heads; their kernels and verdicts."""
