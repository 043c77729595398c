"""The pieces of Browse."""
