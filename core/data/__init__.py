"""Patches come in: official PCam files, imports, synthetic tissue, uploads."""
