"""One self-contained page that shows what runs have learned: samples over training, curves, numbers, commands."""

from handmade.gallery.page import write_gallery

__all__ = ["write_gallery"]
