"""Learning rules estimate the gradient of the loss from settled states."""
