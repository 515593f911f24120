"""What every training shares, whatever network and loss: recipes and worker processes."""
