"""Replica equations of one student: Gaussian averages, order parameters, fixed points."""
