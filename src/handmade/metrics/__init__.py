"""Held-out numbers: pure functions of tensors, each with its paper. `image`, `points` and `numbers`."""
