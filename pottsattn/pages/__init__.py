"""Self-contained pages of figures and tables."""
