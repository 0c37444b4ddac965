"""Sound in files: WAV by hand, with a note of origin in it; FLAC, MP3 and OGG through libsndfile."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import numpy as np
from numpy import ndarray

from handmade.errors import UserError, did_you_mean

SOUNDS: Mapping[str, tuple[str, str]] = {  # ending -> container and coding, as libsndfile calls them
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
}
SECONDS = 1.0  # of sound that are handed to libsndfile at a time: its Vorbis encoder fails on long pieces


def _check_of(byte: int) -> int:
    """The checksum that OGG gives one byte: polynomial 04C11DB7, highest bit first (RFC 3533, section 6)."""
    check = byte << 24
    for _ in range(8):
        check = check << 1 ^ (0x104C11DB7 if check >> 31 else 0)
    return check


CHECKS = tuple(map(_check_of, range(256)))


def wav_bytes(sound: ndarray, rate: int, info: bytes = b"") -> bytes:
    """Write (samples, channels) of -1..1 as 16 bits a sample; the same sound always gives the same bytes.

    info: a whole LIST chunk, written before the sound so that it is found without reading the rest
    """
    levels = np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2")  # (N, C)
    channels = levels.shape[1]
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
    data = struct.pack("<4sI", b"data", levels.nbytes) + levels.tobytes()
    body = b"WAVE" + form + info + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def sound_bytes(sound: ndarray, rate: int, kind: str = "mp3", quality: float = 0.5) -> bytes:
    """Encode (samples, channels) of -1..1 as "flac", "mp3", "ogg" or "wav".

    quality: 1 is the finest and the largest file; of no account for wav and flac, which lose nothing
    """
    import soundfile

    if kind not in SOUNDS:
        raise UserError(f'sound cannot be saved as "{kind}"{did_you_mean(kind, SOUNDS)}')
    container, coding = SOUNDS[kind]
    level = min(0.98, 1 - quality) if kind in ("mp3", "ogg") else None
    out, stride = io.BytesIO(), round(SECONDS * rate)
    with soundfile.SoundFile(out, "w", rate, sound.shape[1], coding, format=container, compression_level=level) as file:
        for start in range(0, len(sound), stride):
            file.write(sound[start : start + stride])
    return _numbered(out.getvalue()) if kind == "ogg" else out.getvalue()


def _numbered(ogg: bytes) -> bytes:
    """Give an OGG stream the number 1: libsndfile draws it by the clock, and the same sound would be other bytes."""
    pages, start = bytearray(ogg), 0
    while start < len(pages):
        segments = pages[start + 26]
        end = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = struct.pack("<I", 1)
        pages[start + 22 : start + 26] = bytes(4)  # the checksum is that of the page with nothing in its place
        check = 0
        for byte in pages[start:end]:
            check = (check << 8 & 0xFFFFFFFF) ^ CHECKS[check >> 24 ^ byte]
        pages[start + 22 : start + 26] = struct.pack("<I", check)
        start = end
    return bytes(pages)
