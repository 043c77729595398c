"""The pieces of Train."""
