"""IDX files, the format of the MNIST family: a magic number, the sizes, then the bytes (LeCun et al., 1998)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from handmade.data.mirrors import unpack
from handmade.errors import Damaged

if TYPE_CHECKING:
    import numpy as np


def read_idx(content: bytes) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzip or not, into an array of its sizes; Damaged where it is none."""
    import numpy as np

    content = unpack(content)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or not 1 <= content[3] <= 4:
        raise Damaged("not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    sizes = struct.unpack(f">{content[3]}I", content[4:start]) if len(content) >= start else ()
    total = 1
    for size in sizes:
        total *= size
    if not sizes or len(content) - start != total:
        raise Damaged(f"an IDX file of {len(content) - start:,} bytes that says it holds {total:,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
