"""`import ROOM PATH` and `export RUN --to FORMAT`: weights from elsewhere, and to elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from handmade.cli.main import Parser, take_overrides


def import_(parser: Parser, arguments: list[str]) -> int:
    """Read weights, check that they fit the room, and write a run."""
    parser.epilog = (
        "A file of a room's own tensors takes settings as train does: --recipe dcgan/faces --config.width 64"
    )
    parser.add_argument("room", metavar="ROOM")
    parser.add_argument("path", metavar="PATH", help="a file (.safetensors; .pt/.pth/.bin through the restricted reader), or "
                        "a folder of published weights (Hugging Face, TensorFlow checkpoint, nanoGPT)")  # fmt: skip
    parser.add_argument("--precision", metavar="float32|bf16|int8|int4",
                        help="how published weights are kept: fewer bits are smaller and faster (default float32)")  # fmt: skip
    parser.add_argument("--recipe", help="whose data and settings a file of the room's own tensors belongs to")
    parser.add_argument("--out", help="the run's folder (default: the next free one under runs/)")
    words, overrides = take_overrides(arguments)
    wanted = parser.parse_args(words)
    from handmade import api

    run = api.import_weights(
        wanted.room, Path(wanted.path), wanted.recipe, wanted.out, overrides, wanted.precision, _say
    )
    print(run.folder)
    return 0


def export_(parser: Parser, arguments: list[str]) -> int:
    """Write a run in another program's format."""
    parser.add_argument("run", metavar="RUN", help="a path, a name under runs/, `latest`, or zoo:ROOM/RECIPE")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="hf: a folder that transformers loads; what else a "
                        "room knows, it says")  # fmt: skip
    parser.add_argument("--out", help="the folder (default: the next free one under out/)")
    wanted = parser.parse_args(arguments)
    from handmade import api

    print(api.export(wanted.run, wanted.to, wanted.out, _say))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)
