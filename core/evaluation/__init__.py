"""How good the readings are, and how far the explanations can be believed."""
