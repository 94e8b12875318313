"""The options of `elman-server bench`; apart from what runs them, so that no other command waits for its imports."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LENGTHS = "N, uniform:LOW:HIGH or geometric:MEAN"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    _add_server(parser)
    _add_frames(parser)
    _add_runs(parser)


def _add_server(parser: argparse.ArgumentParser) -> None:
    text = "the server's address, HOST:PORT or unix:PATH (default: localhost:8470)"
    parser.add_argument("--target", "--address", dest="address", default="localhost:8470", metavar="TARGET", help=text)
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name (required)")
    parser.add_argument("--version", default="", help="the model's version (default: the highest)")
    parser.add_argument(
        "--metrics", metavar="URL", help="the server's metrics page: rows per batch are read there (default: none)"
    )
    parser.add_argument(
        "--pid",
        type=int,
        metavar="N",
        help="the server's process, if it runs here: its processor time is read (default: none)",
    )


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sessions",
        type=_list_of(int),
        default=(1, 16, 64, 256),
        metavar="N,N,...",
        help="sessions of each load (default: 1,16,64,256)",
    )
    parser.add_argument(
        "--streams", type=int, metavar="N", help="streams that the sessions share (default: one for each session)"
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=1,
        metavar="N",
        help="connections that the streams are spread over (default: 1)",
    )
    parser.add_argument("--rows", type=int, metavar="N", help="sessions of one frame (default: all of its stream's)")
    parser.add_argument(
        "--in-flight", type=int, default=1, metavar="N", help="closed loop: frames of a stream under way (default: 1)"
    )
    parser.add_argument("--lengths", default="1", metavar="LENGTHS", help=f"steps of a chunk: {LENGTHS} (default: 1)")
    parser.add_argument(
        "--rates",
        type=_list_of(float),
        metavar="R,R,...",
        help="open loop: session-steps offered a second, Poisson (default: closed loop)",
    )


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--warm-up", type=float, default=1.0, metavar="SECONDS", help="before each run, in seconds (default: 1)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="of each run, after its warm-up, in seconds (default: 5)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each load, each of another seed (default: 3)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="for runs.json and the plots (default: a table alone)")


def _list_of(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse(text: str) -> tuple[T, ...]:
        return tuple(kind(part) for part in text.split(","))

    parse.__name__ = "list"  # as argparse names it in its message
    return parse
