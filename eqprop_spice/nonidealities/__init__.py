"""Non-idealities: how a real circuit differs from the drawn one, and what reading it adds."""
