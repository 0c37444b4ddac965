"""Samplers: pure functions that draw from what was learned, and paths through what can be drawn."""
