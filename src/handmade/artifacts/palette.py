"""The colours of everything Handmade draws: plots, sheets, films and the gallery share one set.

The series colours stay apart for readers who cannot tell red from green (they differ in lightness as well as in hue).
"""

from __future__ import annotations

PAPER = "#fbfaf6"
INK = "#22252e"
MUTED = "#6f7380"
RULE = "#e6e3da"
MATTE = "#191b22"  # the ground behind pictures on a sheet

SERIES = ("#2f6fdb", "#e2603f", "#12907e", "#8a55c7", "#b8790a", "#c2417f")  # one per player, in order of appearance
YARDSTICK = "#12907e"
FLOOR = "#6f7380"
