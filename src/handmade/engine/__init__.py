"""The engine: trains any system into a run folder."""
