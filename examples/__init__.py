"""Strategies and projections to read, copy and run; each `.py` prints exactly its `.out`."""
