"""The Slide page."""
