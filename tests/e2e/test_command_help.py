"""The command line explains itself: help, version, completion, and one line for what is asked wrongly."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elman_server.cli.main import main, make_parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


PARSERS = {parser.prog: parser for parser in parsers(make_parser())}
THEIRS = ("elman-server pack", "elman-server check")
"""Commands with a test of their own."""
OPTIONS = {
    f"{prog} {'/'.join(action.option_strings) or action.dest}": action
    for prog, parser in PARSERS.items()
    if prog not in THEIRS
    for action in parser._actions
    if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
}


@pytest.mark.parametrize("action", OPTIONS.values(), ids=OPTIONS)
def test_every_option_says_what_it_is_and_its_default(action: argparse.Action) -> None:
    assert action.help
    is_plain = not action.option_strings or action.dest == "version"
    assert is_plain or "default" in action.help or "required" in action.help
    assert action.metavar is None or not set("^$\\()") & set(str(action.metavar))


@pytest.mark.parametrize("prog", PARSERS)
def test_help_is_there_for_every_command(prog: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*prog.split()[1:], "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {prog}")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nosuch",),
        ("serve", "--nosuch"),
        ("serve", "--max-row", "3"),
        ("serve", "--models"),
        ("serve", "extra"),
        ("plans", "--again=5"),
        ("models",),
        ("models", "load"),
        ("sessions", "list"),
        ("sessions", "nosuch"),
        ("bench",),
        ("bench", "--model", "m", "--sessions", "many"),
        ("bench", "--model", "m", "--seconds", "long"),
        ("completion", "nosuch"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("elman-server")
    assert "--help" in err


def test_the_version_is_that_of_the_server_and_of_what_it_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("elman-server 0.")
    assert all(name in said for name in ("Python", "torch", "grpcio"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("elman-server ses", "sessions"),
        ("elman-server models ", "load"),
        ("elman-server serve --when-full ", "evict"),
        ("elman-server serve --metrics-l", "--metrics-listen"),
        ("elman-server completion ", "fish"),
    ],
)
def test_bash_completes_commands_options_and_values(line: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "elman-server"
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom elman_server.cli.main import main\nsys.exit(main())\n")
    command.chmod(0o755)
    script = 'eval "$(elman-server completion bash)"; _python_argcomplete elman-server; echo "${COMPREPLY[@]}"'
    words = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "COMP_WORDBREAKS": " =:"}
    environment = os.environ | words | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert expected in done.stdout.split()


def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m elman_server completion bash | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
