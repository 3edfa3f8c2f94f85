"""What systems whose states are samples are made of: random numbers, chains, sums, diagnostics."""
