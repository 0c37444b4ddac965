"""`new ROOM`: a room of your own, from a template that trains as it is."""

from __future__ import annotations

import keyword
import shutil
from pathlib import Path

from handmade.cli.main import Parser
from handmade.errors import UserError
from handmade.registry import rooms, store

TEMPLATE = Path(__file__).parent / "template"


def new_(parser: Parser, arguments: list[str]) -> int:
    """Copy the template into a new folder; nothing else has to be edited."""
    parser.add_argument("room", metavar="ROOM", help="its name: small letters, digits and underscores")
    parser.add_argument("--to", help="the folder of rooms (default: rooms/ in your store)")
    wanted = parser.parse_args(arguments)
    name = wanted.room
    if not name.isidentifier() or not name.islower() or keyword.iskeyword(name):
        raise UserError(f'a room cannot be called "{name}": use small letters, digits and underscores, such as my_gan')
    parent = Path(wanted.to) if wanted.to else store() / "rooms"
    folder = parent / name
    if name in rooms() or folder.exists():
        raise UserError(f'there is already a room "{name}": choose another name')
    try:
        folder.mkdir(parents=True)
        for source in TEMPLATE.iterdir():
            if source.is_file():
                text = source.read_text("utf-8").replace("my_room", name)
                (folder / source.name).write_text(text, "utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"cannot write into {parent}: {error}") from None
    print(folder)
    found = name in rooms()
    print(f"handmade train {name}/smoke" if found else f"HANDMADE_ROOMS={parent} handmade train {name}/smoke")
    return 0
