"""Piano rolls: time runs to the right, pitch upwards, every track has its colour, and every bar its line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts.palette import INK, MUTED, PAPER, RULE, SERIES
from handmade.midi import Note, Piece, pitch_name

SCALE = 3  # drawn larger, then shrunk: smooth edges
ROW = 6  # pixels of a semitone
BEAT_WIDTH, WIDEST = 34, 2200  # pixels of a beat, and of a whole roll: a longer piece has narrower beats
PAGE, LARGEST = 1160, 8_000_000  # pixels: the width of a sheet, and its area
LOW, HIGH = 36, 84  # C2 to C6 is always shown, and octaves beyond where there are notes
LEFT, RIGHT, TOP, BOTTOM = 40, 16, 34, 26  # margins in pixels
BLACK = (1, 3, 6, 8, 10)  # the black keys of an octave


def draw_rolls(
    pieces: Sequence[Piece], beats: int = 4, titles: Sequence[str] = (), columns: int | None = None
) -> Image.Image:
    """Draw pieces on one RGB sheet, all with the same scale so that they can be compared; the tracks are named once.

    beats: quarter notes of a bar, each as long as the piece's tempo says
    columns: rolls side by side; None: as many as a page is wide. Of very many pieces, the first are drawn
    """
    notes = [note for piece in pieces for note in piece.notes]
    low = min([LOW, *(note.pitch // 12 * 12 for note in notes)])
    high = max([HIGH, *(-(-note.pitch // 12) * 12 for note in notes)])
    bars = max([1, *(math.ceil(piece.seconds * piece.tempo / 60 / beats - 0.02) for piece in pieces)])
    wide = min(BEAT_WIDTH, WIDEST / (bars * beats))
    rolls: list[Image.Image] = []
    for index, piece in enumerate(pieces):
        if rolls and (index + 1) * rolls[0].width * rolls[0].height > LARGEST:
            break
        rolls.append(_draw(piece, (bars, beats), wide, (low, high), titles[index] if titles else ""))
    width, height = rolls[0].size
    columns = min(columns or max(1, PAGE // width), len(rolls))
    keys = _keys(pieces, width * columns)
    sheet = Image.new("RGB", (width * columns, height * -(-len(rolls) // columns) + keys.height), PAPER)
    for index, roll in enumerate(rolls):
        sheet.paste(roll, (index % columns * width, index // columns * height))
    sheet.paste(keys, (0, sheet.height - keys.height))
    return sheet


def _draw(piece: Piece, lines: tuple[int, int], wide: float, pitches: tuple[int, int], title: str) -> Image.Image:
    """One roll of `lines` bars and beats of a bar: ground, lines, notes, then the words on the finished size."""
    (bars, beats), (low, high) = lines, pitches
    right, bottom = LEFT + bars * beats * wide, TOP + (high - low + 1) * ROW
    size = (max(320, math.ceil(right) + RIGHT), bottom + BOTTOM)
    big = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    draw = ImageDraw.Draw(big)
    for pitch in range(low, high + 1):
        top = (bottom - (pitch - low + 1) * ROW) * SCALE
        if pitch % 12 in BLACK:
            draw.rectangle((LEFT * SCALE, top, right * SCALE, top + ROW * SCALE - 1), _mixed(RULE, 0.45))
        if pitch % 12 == 0:
            draw.line((LEFT * SCALE, top + ROW * SCALE, right * SCALE, top + ROW * SCALE), RULE, SCALE)
    for count in range(bars * beats + 1):
        x = (LEFT + count * wide) * SCALE
        if count % beats == 0 or wide >= 10:
            colour = MUTED if count % beats == 0 else RULE
            draw.line((x, TOP * SCALE, x, bottom * SCALE), colour, SCALE)
    for note in sorted(piece.notes, key=lambda note: note.velocity):
        _note(draw, note, LEFT, bottom, wide * piece.tempo / 60, low)
    picture = big.resize(size, Image.Resampling.LANCZOS)
    _words(ImageDraw.Draw(picture), bars, beats * wide, pitches, bottom, title)
    return picture


def _note(draw: ImageDraw.ImageDraw, note: Note, left: float, bottom: float, second: float, low: int) -> None:
    """One rounded bar, paler where it is softer, with a gap after it so that repeated notes stay apart."""
    start, end = left + note.start * second, left + (note.start + note.length) * second
    top = bottom - (note.pitch - low + 1) * ROW
    box = (start * SCALE, top * SCALE + 1, max(end * SCALE - SCALE, start * SCALE + SCALE), (top + ROW) * SCALE - 2)
    colour = _mixed(SERIES[note.track % len(SERIES)], 0.45 + 0.55 * min(1.0, note.velocity / 90))
    draw.rounded_rectangle(box, min(2 * SCALE, (box[2] - box[0]) / 2), colour)


def _words(draw: ImageDraw.ImageDraw, bars: int, bar: float, pitches: tuple[int, int], bottom: int, title: str) -> None:
    """The title, the names of the octaves, and the numbers of the bars."""
    small = ImageFont.load_default(size=11)
    if title:
        draw.text((LEFT, TOP / 2), title, INK, ImageFont.load_default(size=14), anchor="lm")
    for pitch in range(pitches[0], pitches[1] + 1, 12):
        draw.text((LEFT - 7, bottom - (pitch - pitches[0] + 0.5) * ROW), pitch_name(pitch), MUTED, small, anchor="rm")
    apart = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, 10**6) if step * bar >= 26)
    for number in range(0, bars, apart):
        draw.text((LEFT + number * bar + 2, bottom + 6), str(number + 1), MUTED, small, anchor="lt")


def _keys(pieces: Sequence[Piece], width: int) -> Image.Image:
    """A line that names the tracks in their colours; nothing where there is one without a name."""
    names: dict[int, str] = {}
    for piece in pieces:
        for track in sorted({note.track for note in piece.notes}):
            named = piece.tracks[track] if track < len(piece.tracks) else ""
            names.setdefault(track, named or f"track {track + 1}")
    if len(names) < 2:
        return Image.new("RGB", (width, 0), PAPER)
    font, x, y = ImageFont.load_default(size=13), float(LEFT), 11
    line = Image.new("RGB", (width, 30), PAPER)
    draw = ImageDraw.Draw(line)
    for track, name in sorted(names.items()):
        draw.rounded_rectangle((x, y - 4, x + 16, y + 4), 2, SERIES[track % len(SERIES)])
        draw.text((x + 22, y), name, INK, font, anchor="lm")
        x += 22 + font.getlength(name) + 20
    return line


def _mixed(colour: str, share: float) -> tuple[int, int, int]:
    """A colour on paper, `share` of it."""
    parts = [(int(colour[i : i + 2], 16), int(PAPER[i : i + 2], 16)) for i in (1, 3, 5)]
    red, green, blue = (round(share * ink + (1 - share) * paper) for ink, paper in parts)
    return red, green, blue
