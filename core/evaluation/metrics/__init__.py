"""Figures of merit with their intervals, as functions of arrays."""
