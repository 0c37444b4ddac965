"""`handmade`: parse the words, call the public API, print. Loads torch only for the words that compute.

Standard output carries results, standard error the talk; with --json, standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import time
from typing import NoReturn

from handmade import __version__
from handmade.errors import HandmadeError, UserError, did_you_mean, one_line

BEGAN = time.monotonic()
NO_MEMORY = "there is not enough memory"

WORDS = {  # word -> module, one line of help
    "demo": ("demo", "train small models of several families here, and open a gallery of what they made"),
    "list": ("show", "rooms, recipes and shipped runs"),
    "show": ("show", "one room or recipe: what it makes, its settings, what it can be asked"),
    "train": ("train", "train a recipe, on its own data or on yours (--data FOLDER)"),
    "resume": ("train", "go on with a run, to the end of its plan or for some minutes more"),
    "ask": ("ask", "make things with a run: your own, `latest`, or `zoo:ROOM/RECIPE`"),
    "evaluate": ("ask", "held-out scores of a run, each with its floor and interval"),
    "recreate": ("ask", "make an output again from the origin it carries, and compare the bytes"),
    "import": ("weights", "turn weights from elsewhere into a run like any other"),
    "export": ("weights", "write a run as a folder that other programs load"),
    "data": ("data", "data sets: list, prepare, show"),
    "studio": ("studio", "everything in the browser: train, watch, play, understand, compare"),
    "doctor": ("doctor", "what this machine is, and whether everything needed is here"),
    "new": ("new", "start a room of your own from a template"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line of ours."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see `{self.prog} --help`")


def build_parser() -> Parser:
    """All words with their help; the options of a word live in its module."""
    parser = Parser(prog="handmade", description="Generative AI, made by hand.", allow_abbrev=False,
                    epilog="First: `handmade demo`. Then: `handmade train dcgan/faces --minutes 20`. "
                           "Help for a word: `handmade train --help`.")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"handmade {__version__}")
    words = parser.add_subparsers(dest="word", metavar="WORD", title="words")
    for word, (_, text) in WORDS.items():
        words.add_parser(word, help=text, add_help=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 your mistake, 3 missing, 4 damaged, 5 diverged."""
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    try:
        try:
            return dispatch(argv)
        finally:
            print(end="", flush=True)  # here, where a reader that has gone away is no error
    except HandmadeError as error:
        if debug:
            raise
        print(f"handmade: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("handmade: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:  # a full disk, a folder without permission, a machine without memory
        if debug:
            raise
        print(f"handmade: {one_line(error) or NO_MEMORY}", file=sys.stderr)
        return 1
    except RuntimeError as error:  # torch's own words for a machine without memory
        if debug or not ("DefaultCPUAllocator" in str(error) or type(error).__name__ == "OutOfMemoryError"):
            raise
        print(f"handmade: {NO_MEMORY}", file=sys.stderr)
        return 1


def dispatch(argv: list[str]) -> int:
    """Hand the words over to the module of the first one."""
    if not argv or argv[0].startswith("-"):
        parser = build_parser()
        parser.parse_args(argv)
        parser.print_help()
        return 0
    word, rest = argv[0], argv[1:]
    if word not in WORDS:
        raise UserError(f'no word "{word}"{did_you_mean(word, WORDS)}')
    module = importlib.import_module(f"handmade.cli.{WORDS[word][0]}")
    parser = Parser(prog=f"handmade {word}", description=WORDS[word][1], allow_abbrev=False)
    return getattr(module, f"{word}_")(parser, rest)


def take_overrides(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Split `--train.steps 500` and `--config.width=32` from the other words."""
    rest, overrides, words = [], {}, iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.startswith("--") and "." in name):
            rest.append(word)
            continue
        if not equals:
            value = next(words, None)
            if value is None:
                raise UserError(f"{name} needs a value")
        overrides[name[2:]] = value
    return rest, overrides


@contextlib.contextmanager
def talking():
    """A progress line for slow preparations, on standard error: at most one every second."""
    spoken = [0.0]

    def progress(done: int, total: int, what: str) -> None:
        if time.monotonic() - spoken[0] > 1.0 and done < total:
            spoken[0] = time.monotonic()
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr)

    yield progress


if __name__ == "__main__":
    sys.exit(main())
