"""NodeLens: read lymph-node patches, explain the reading, and judge the explanation."""

__version__ = "0.2.0"
