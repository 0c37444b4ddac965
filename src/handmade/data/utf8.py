"""Bytes into text: UTF-8 or nothing, and what is refused is told with the byte and what it looks like instead."""

from __future__ import annotations

import re
from pathlib import Path

from handmade.errors import UserError

MOST_GIVEN = 20_000_000  # bytes of a file in place of a text
MAGIC = {  # how files begin that are often taken for text
    b"%PDF": "a PDF", b"PK\x03\x04": "a .zip, .docx or .epub", b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip file", b"\xd0\xcf\x11\xe0": "an old Word file", b"{\\rtf": "an RTF file", b"SQLite": "a database",
    b"\x7fELF": "a program", b"MOBI": "an e-book", b"GIF8": "a GIF picture", b"RIFF": "sound or film",
}  # fmt: skip
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text holds


def given_text(text: str, file: Path) -> str:
    """The text that was given, or that of the file in its place; UserError for both, and for a file that is no text."""
    if file == Path():
        return text
    if text:
        raise UserError(f"give a text or a file, not both ({file})")
    try:
        if file.stat().st_size > MOST_GIVEN:
            raise UserError(f"{file} has {file.stat().st_size:,} bytes: give at most {MOST_GIVEN:,} at once")
        return text_of(file.read_bytes(), str(file))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def text_of(content: bytes, where: str) -> str:
    """Bytes -> text; UserError with the first wrong byte, its place, and what the bytes look like instead."""
    kind = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
    wide = _wide(content)
    if kind or (not wide and (found := CONTROL.search(content))):
        place = "" if kind else f": byte 0x{found.group()[0]:02x} at position {found.start():,}"  # type: ignore[union-attr]
        raise UserError(f"{where} is not text but {kind or 'binary'}{place}: save what it says as a .txt file in UTF-8")
    if wide:
        raise UserError(
            f"{where} is not UTF-8: byte 0x{content[0]:02x} at position 0, it looks like {wide}; {_how(wide)}"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content.count(b"\n", 0, at) + 1
        wrong = f"byte 0x{content[at]:02x} at position {at:,} (line {line:,})"
        if error.reason == "unexpected end of data" and max(content[:at], default=0) >= 0x80:
            raise UserError(
                f"{where} ends in the middle of a character: {wrong}; it was cut off, copy it again"
            ) from None
        looks = _eight_bits(content)
        raise UserError(f"{where} is not UTF-8: {wrong}, it looks like {looks}; {_how(looks)}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _how(encoding: str) -> str:
    return f"save it as UTF-8, or type iconv -f {encoding} -t utf-8 OLD > NEW"


def _wide(content: bytes) -> str:
    """The name of a two-byte encoding, by its mark or by every other byte being zero; empty for none."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:1000]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(start) >= 8 and max(even, odd) > len(start) / 3 and min(even, odd) < len(start) / 50:
        return "utf-16le" if odd > even else "utf-16be"
    return ""


def _eight_bits(content: bytes) -> str:
    """The likeliest one-byte encoding: the one in which the most of the foreign bytes are letters among their like."""
    high = [byte for byte in content if byte >= 0x80]
    if len(high) > 0.3 * len(content):  # most letters are foreign: no Latin script
        return "windows-1251" if sum(byte >= 0xC0 for byte in high) > 0.8 * len(high) else "koi8-r"
    if any(0x80 <= byte < 0xA0 for byte in high):  # curly quotes and dashes of Windows
        return "windows-1252"
    return "latin1"
