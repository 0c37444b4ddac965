"""TensorFlow's checkpoint files, read without TensorFlow: `NAME.index`, a sorted table, and `NAME.data-00000-of-00001`.

The table has LevelDB's form (SSTable): blocks of entries whose keys share their beginnings, a block that lists the blocks, and
a footer with its place and a magic number. A key is a tensor's name; its value is a protocol buffer with type, shape, piece,
offset and size. Formats: leveldb's doc/table_format.md and TensorFlow's tensor_bundle.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch

from handmade.engine.tensors import MOST_TENSORS, mapped
from handmade.errors import Damaged, UserError
from handmade.weights import Stored

MAGIC = 0xDB4775248B80FB57
LARGEST = 64 * 2**20  # bytes of a table, and of one of its blocks unpacked
KINDS = {1: torch.float32, 2: torch.float64, 3: torch.int32, 4: torch.uint8, 6: torch.int8, 9: torch.int64,
         10: torch.bool, 14: torch.bfloat16, 19: torch.float16}  # fmt: skip


def open_bundle(index: Path) -> dict[str, Stored]:
    """The tensors of a TensorFlow checkpoint by name, not read yet.

    Raises UserError for a checkpoint of an older format or another byte order, Damaged for a table or a piece that is
    broken, cut short or missing.
    """
    try:
        if index.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        table = dict(_entries(index.read_bytes()))
        header = _fields(table.pop(b"", b""))
        pieces = int(_first(header, 1, 1))
        if int(_first(header, 2, 0)) != 0:
            raise UserError(f"{index} was written with the other byte order: save it on an ordinary machine")
        if not 0 < len(table) <= MOST_TENSORS or pieces > MOST_TENSORS:
            raise ValueError(f"it names {len(table)} tensors in {pieces} pieces")
        stored = {key.decode("utf-8"): _stored(index, _fields(value), pieces) for key, value in table.items()}
    except (ValueError, IndexError, KeyError, TypeError, OSError, struct.error) as error:
        raise Damaged(f"{index} is not a TensorFlow checkpoint, or damaged: {error}") from None
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def _stored(index: Path, entry: dict[int, list[int | bytes]], pieces: int) -> Stored | None:
    """One tensor; None where it holds no numbers (texts of a training program)."""
    dtype = KINDS.get(int(_first(entry, 1, 0)))
    if dtype is None:
        return None
    if 7 in entry:
        raise ValueError("a tensor is cut into slices")
    sizes = [_fields(dim) for dim in _fields(_first(entry, 2, b"")).get(2, [])]
    shape = tuple(int(_first(size, 1, 0)) for size in sizes)
    piece, offset, size = (int(_first(entry, number, 0)) for number in (3, 4, 5))
    path = index.with_name(f"{index.stem}.data-{piece:05d}-of-{pieces:05d}")
    if not path.is_file():
        raise ValueError(f"{path.name} is not beside it")
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{size} bytes are not a tensor of shape {shape}")
    if offset + size > path.stat().st_size:
        raise ValueError(f"{path.name} is cut short: {path.stat().st_size} bytes, a tensor ends at {offset + size}")
    return Stored(shape, dtype, lambda: mapped(path, offset, shape, dtype))


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted table, block by block."""
    if len(table) < 48 or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("its last bytes are not those of a table")
    _, place = _handle(table[-48:], 0)  # of the block of statistics, which is skipped
    handle, _ = _handle(table[-48:], place)
    for _, value in _block(table, *handle):
        yield from _block(table, *_handle(value, 0)[0])


def _handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of one block, after its checksum."""
    data, trailer = table[offset : offset + size], table[offset + size : offset + size + 5]
    if len(data) != size or len(trailer) != 5:
        raise ValueError("a block lies outside the file")
    if struct.unpack("<I", trailer[1:])[0] != masked_crc(data + trailer[:1]):
        raise ValueError("a block does not match its checksum")
    if trailer[0] > 1:
        raise ValueError(f"a block is packed in an unknown way ({trailer[0]})")
    data = unpack_snappy(data) if trailer[0] else data
    end, place, key = len(data) - 4 - 4 * struct.unpack("<I", data[-4:])[0], 0, b""
    while place < end:
        shared, place = _varint(data, place)
        fresh, place = _varint(data, place)
        length, place = _varint(data, place)
        if shared > len(key) or place + fresh + length > end:
            raise ValueError("an entry runs over its block")
        key = key[:shared] + data[place : place + fresh]
        yield key, data[place + fresh : place + fresh + length]
        place += fresh + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number has no end")


def _fields(message: int | bytes) -> dict[int, list[int | bytes]]:
    """A protocol buffer as field number -> its values: numbers, or bytes for texts and messages."""
    if isinstance(message, int):
        raise TypeError("a number stands where a message should")
    found: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        match tag & 7:
            case 0:
                value, place = _varint(message, place)
            case 1 | 5:
                width = 8 if tag & 7 == 1 else 4
                value, place = int.from_bytes(message[place : place + width], "little"), place + width
            case 2:
                length, place = _varint(message, place)
                value, place = message[place : place + length], place + length
            case kind:
                raise ValueError(f"a field of unknown kind {kind}")
        if place > len(message):
            raise ValueError("a message is cut short")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _first(fields: dict[int, list[int | bytes]], number: int, default: int | bytes) -> int | bytes:
    return fields.get(number, [default])[-1]


def unpack_snappy(data: bytes) -> bytes:
    """Undo Snappy's compression: literal bytes, and copies of what came before."""
    length, place = _varint(data, 0)
    if length > LARGEST:
        raise ValueError("a block is too large")
    out = bytearray()
    while place < len(data):
        tag = data[place]
        place += 1
        if tag & 3 == 0:
            size = tag >> 2
            extra = max(0, size - 59)  # bytes that hold a size of more than 60
            size = int.from_bytes(data[place : place + extra], "little") if extra else size
            place += extra
            out += data[place : place + size + 1]
            place += size + 1
            continue
        width = (1, 2, 4)[(tag & 3) - 1]
        back = int.from_bytes(data[place : place + width], "little") | ((tag >> 5) << 8 if width == 1 else 0)
        size = ((tag >> 2) & 7) + 4 if width == 1 else (tag >> 2) + 1
        place += width
        if not 0 < back <= len(out) or len(out) + size > length:
            raise ValueError("a copy points outside its block")
        for _ in range(size):
            out.append(out[-back])
    if len(out) != length:
        raise ValueError(f"a block has {len(out)} bytes in place of {length}")
    return bytes(out)


@lru_cache(1)
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), turned and shifted as LevelDB stores it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
