"""The pieces of About."""
