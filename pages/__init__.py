"""One screen each. Pages call `core` and show what comes back."""
