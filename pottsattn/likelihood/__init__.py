"""The partition function of models too large to enumerate."""
