"""Sequences as data: data sets, files, weights, resampling, images, batches for torch."""
