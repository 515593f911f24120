"""Penalties, parameters and files of other programs."""
