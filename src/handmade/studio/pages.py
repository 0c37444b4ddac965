"""Text from rooms and runs for the page: Markdown as HTML that cannot do anything, and the objective in its source.

Raw HTML in the Markdown is shown as the letters it is, pictures become their words, links keep only http, https and #.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from handmade.registry import PACKAGE, Room

LONGEST = 300_000  # letters of a README that are shown


def safe_html(markdown: str) -> str:
    """Markdown -> HTML without raw HTML, pictures, or links to anything but http, https and places on the page."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table")
    tokens = parser.parse(markdown[:LONGEST])
    for token in tokens:
        if token.type == "inline" and token.children:
            token.children = [_safe(child) for child in token.children]
    return parser.renderer.render(tokens, parser.options, {})


def _safe(token: Token) -> Token:
    if token.type == "image":
        return Token("text", "", 0, content=token.content)
    if token.type == "link_open":
        link = str(token.attrs.get("href", ""))
        inside = not re.match(r"https?://", link)
        token.attrs = {
            "href": (link if link.startswith("#") else "#") if inside else link,
            "rel": "noopener noreferrer",
        }
        if not inside:
            token.attrs["target"] = "_blank"
    return token


def objective(room: Room) -> dict[str, Any] | None:
    """The objective of a room: its words and equation, and the very lines that compute it; None where none is written."""
    path = _file(room)
    found = _method(path, room.system["class"].split(":")[1], "objective")
    if found is None:
        return None
    where, node = found
    lines = where.read_text("utf-8").splitlines()
    first, last = node.lineno, node.end_lineno or node.lineno
    return {
        "words": equation(ast.get_docstring(ast.parse(room.source)) or ""), "file": where.name,
        "first": first, "lines": lines[first - 1 : last],
    }  # fmt: skip


def equation(docstring: str) -> list[str]:
    """The lines of a module's docstring about its objective: from the one that says so to the end of what is set in."""
    lines = docstring.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"(the )?objectives?\b", line, re.I)), None)
    if start is None:
        return []
    end = start + 1
    while end < len(lines) and (lines[end].startswith(" ") or (not lines[end].strip() and end == start + 1)):
        end += 1
    return lines[start:end]


def modules(room: Room) -> list[dict[str, Any]]:
    """The source files of a room: name, first line about it, length."""
    told = []
    for path in sorted(room.folder.glob("*.py"), key=lambda path: (path.name != "system.py", path.name)):
        if not path.name.startswith("_"):
            text = path.read_text("utf-8")
            about = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
            told.append({"file": path.name, "about": about, "lines": len(text.splitlines())})
    return told


def _file(room: Room) -> Path:
    return room.folder / f"{room.system['class'].split(':')[0]}.py"


def _method(path: Path, wanted: str, method: str) -> tuple[Path, ast.FunctionDef] | None:
    """A method of a class, in its own file or in the one of ours that it inherits from."""
    tree = ast.parse(path.read_text("utf-8"))
    kind = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == wanted), None)
    if kind is None:
        return None
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            return path, node
    bases = {base.id for base in kind.bases if isinstance(base, ast.Name)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("handmade."):
            where = PACKAGE.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            for alias in node.names:
                if alias.name in bases and where.is_file() and (found := _method(where, alias.name, method)):
                    return found
    return None
