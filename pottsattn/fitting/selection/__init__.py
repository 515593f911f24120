"""What is chosen around a fit: ridge, heads, errors."""
