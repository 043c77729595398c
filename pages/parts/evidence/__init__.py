"""The pieces of Evidence."""
