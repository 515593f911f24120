"""Spatial masked modeling: one softmax-attention layer on patches that come in areas."""
