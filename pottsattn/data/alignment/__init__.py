"""Alignments: letters, formats, filters, identity of sequences."""
