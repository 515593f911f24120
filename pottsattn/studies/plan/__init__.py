"""How many sequences are enough: predictions from fits to parts of the data."""
