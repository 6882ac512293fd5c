"""Benchmarks that check their answers: `foldbook bench`, and at toy size in the test suite."""
