"""Vectors for Numba kernels: arithmetic, bits, masks and rows of LLVM vectors."""
