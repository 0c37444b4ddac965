"""A writer of TensorFlow checkpoint files for tests: LevelDB's sorted table and protocol buffers, written out by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CODES = {np.dtype("float32"): 1, np.dtype("int32"): 3, np.dtype("int64"): 9, np.dtype("float16"): 19}


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def crc32c(data: bytes) -> int:
    """Bit by bit, unlike the reader's."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ 0x82F63B78 * (remainder & 1)
    return remainder ^ 0xFFFFFFFF


def literal_snappy(data: bytes) -> bytes:
    """Snappy's form: the first half literally, then, where the second half repeats it, as copies."""
    out, place = bytearray(varint(len(data))), 0
    while place < len(data):
        piece = data[place : place + 60]
        back = data[:place].rfind(piece[:4]) if len(piece) >= 4 else -1
        if back >= 0 and place - back < 65536:
            size = next((n for n in range(len(piece), 3, -1) if data[back : back + n] == piece[:n]), 4)
            size = min(size, place - back)  # copies that do not overlap
            if size >= 4:
                out += bytes([(size - 1) << 2 | 2]) + struct.pack("<H", place - back)
                place += size
                continue
        out += bytes([(len(piece) - 1) << 2]) + piece
        place += len(piece)
    return bytes(out)


def block(entries: Sequence[tuple[bytes, bytes]], interval: int, packed: bool) -> bytes:
    out, restarts, before = bytearray(), [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    data = (
        bytes(out) + b"".join(struct.pack("<I", r) for r in restarts or [0]) + struct.pack("<I", len(restarts or [0]))
    )
    data = literal_snappy(data) if packed else data
    kind = b"\x01" if packed else b"\x00"
    crc = crc32c(data + kind)
    return data + kind + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_bundle(prefix: Path, arrays: Mapping[str, np.ndarray], pieces: int = 1, packed: bool = False,
                 each: int = 40) -> None:  # fmt: skip
    """`prefix.index` and `prefix.data-0000i-of-0000n`, with `each` entries in a block of the table."""
    data = [bytearray() for _ in range(pieces)]
    entries = [(b"", field(1, pieces) + field(3, field(1, 1)))]
    for number, name in enumerate(sorted(arrays, key=lambda name: name.encode())):
        array, piece = np.ascontiguousarray(arrays[name]), number % pieces
        raw = array.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        value = field(1, CODES[array.dtype]) + field(2, shape)
        value += field(3, piece) if piece else b""
        value += field(4, len(data[piece])) if data[piece] else b""
        value += field(5, len(raw)) + varint(6 << 3 | 5) + struct.pack("<I", 0)
        data[piece] += raw
        entries.append((name.encode(), value))
    table, index = bytearray(), []
    for first in range(0, len(entries), each):
        part = entries[first : first + each]
        whole = block(part, 16, packed)
        index.append((part[-1][0] + b"\x00", varint(len(table)) + varint(len(whole) - 5)))
        table += whole
    places = []
    for rows in ([], index):
        whole = block(rows, 1, packed)
        places.append(varint(len(table)) + varint(len(whole) - 5))
        table += whole
    table += b"".join(places).ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(table)
    for piece, raw in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{piece:05d}-of-{pieces:05d}").write_bytes(raw)
