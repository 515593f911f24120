"""Memory and time of a run, told in advance."""
