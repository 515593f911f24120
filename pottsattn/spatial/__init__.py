"""Masked autoencoding and contrastive learning with one attention layer on spatial data."""
