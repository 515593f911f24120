"""Truth and estimate together: comparison, contacts, scores, moments."""
