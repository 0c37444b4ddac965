"""What systems make, the files it is saved in, and where it came from. Importing this loads no torch."""

from handmade.artifacts.album import Album
from handmade.artifacts.artifact import Artifact
from handmade.artifacts.film import write_film
from handmade.artifacts.images import Images, contact_sheet
from handmade.artifacts.music import Music
from handmade.artifacts.points import Points
from handmade.artifacts.provenance import read_origin
from handmade.artifacts.reel import Reel
from handmade.artifacts.sheet import curves, progress_sheet
from handmade.artifacts.table import Table
from handmade.artifacts.text import Passages, Text
from handmade.artifacts.video import Video

__all__ = [
    "Album",
    "Artifact",
    "Images",
    "Music",
    "Passages",
    "Points",
    "Reel",
    "Table",
    "Text",
    "Video",
    "contact_sheet",
    "curves",
    "progress_sheet",
    "read_origin",
    "write_film",
]
