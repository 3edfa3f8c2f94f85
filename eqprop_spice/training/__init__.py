"""Training: from an estimated gradient to the next parameters, epoch by epoch."""
