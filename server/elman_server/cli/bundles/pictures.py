"""A graph's picture in a file: what `check` draws."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman_models import GraphSpec

DRAW_SECONDS = 60


class PictureError(Exception):
    """It cannot be drawn, or written."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --svg and --mermaid."""
    text = "draw the model's graph as SVG (by Graphviz: apt-get install graphviz)"
    parser.add_argument("--svg", type=Path, metavar="FILE", help=text)
    text = "draw it for Mermaid; to a .md file as GitHub shows it"
    parser.add_argument("--mermaid", type=Path, metavar="FILE", help=text)


def write(given: argparse.Namespace, spec: "GraphSpec") -> list[str]:
    """Writes the pictures of a graph that are asked for; a line for each.

    Raises:
        PictureError: Graphviz is not there or fails, or a file cannot be written.
    """
    from elman_models import dot, mermaid

    lines = []
    if given.mermaid:
        is_page = given.mermaid.suffix == ".md"  # of which it is a part; Mermaid itself takes it bare
        _write(given.mermaid, f"```mermaid\n{mermaid(spec)}\n```\n" if is_page else f"{mermaid(spec)}\n")
        lines.append(f"drawn:       {given.mermaid}")
    if given.svg:
        _write(given.svg, _drawn(dot(spec)))
        lines.append(f"drawn:       {given.svg}")
    return lines


def _drawn(source: str) -> str:
    program = shutil.which("dot")
    if program is None:
        raise PictureError("--svg: expected Graphviz's `dot` on the PATH (apt-get install graphviz), found none")
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=source, capture_output=True, text=True, timeout=DRAW_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        raise PictureError(f"--svg: dot failed: {error.stderr.strip() or error}") from error
    except (subprocess.SubprocessError, OSError) as error:
        raise PictureError(f"--svg: dot failed: {error}") from error
    return done.stdout


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PictureError(f"{file}: cannot be written: {error.strerror}") from error
