"""`import ROOM PATH`: weights from elsewhere become a run like any other."""

from __future__ import annotations

from pathlib import Path

from handmade.cli.main import Parser, take_overrides


def import_(parser: Parser, arguments: list[str]) -> int:
    """Read weights, check that they fit the room, and write a run."""
    parser.epilog = "The networks' settings are given as for train: --recipe dcgan/faces --config.width 64"
    parser.add_argument("room", metavar="ROOM")
    parser.add_argument("path", metavar="PATH", help=".safetensors, or .pt/.pth/.bin through the restricted reader")
    parser.add_argument("--recipe", help="whose data and settings the weights belong to (default: the room's first)")
    parser.add_argument("--out", help="the run's folder (default: the next free one under runs/)")
    words, overrides = take_overrides(arguments)
    wanted = parser.parse_args(words)
    from handmade import api

    run = api.import_weights(wanted.room, Path(wanted.path), wanted.recipe, wanted.out, overrides)
    print(run.folder)
    return 0
