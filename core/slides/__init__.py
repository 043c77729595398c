"""Whole slides: opened, their tissue found, read chunk by chunk, and told of as areas."""
