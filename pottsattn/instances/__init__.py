"""Instance representations from masked views of sequences (extreme masking), and their judges."""
