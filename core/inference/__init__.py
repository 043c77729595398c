"""Patches -> readings: the one path that the pages, the command line and the evaluation share."""

from core.inference.reader import Reader, Readings, load_reader

__all__ = ["Reader", "Readings", "load_reader"]
