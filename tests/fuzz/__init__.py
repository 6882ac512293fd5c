"""Decoders under fire: each module here is a target, which `make fuzz` runs guided by coverage.

A target has `INSTRUMENTED`, the modules whose branches guide the search, `seeds`, inputs to begin
with, and `attack(data)`, which raises only for a defect: a decoder may refuse with TapeError, and
with nothing else.
"""
