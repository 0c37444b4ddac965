"""Measurements behind every number the README prints: `make bench`, or `python -m benchmarks NAME`."""
