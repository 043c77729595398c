"""The pieces of Read."""
