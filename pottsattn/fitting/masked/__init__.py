"""Masked modeling: attention, transformers, masks, and their training."""
