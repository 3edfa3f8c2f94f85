"""The audit: can this circuit learn, and if not, why not."""
