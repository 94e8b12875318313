"""The demo: a scene of each form in which recurrent networks are used, on real models, served with their state.

Streams a file that the model has never seen through a session and measures how well it is predicted; lets eight
sessions type at once; then the examples of this folder, with their figures beside those of the model cards. `make demo`
runs it.
"""

import importlib.util
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

import elman
from elman_models import Packed, load, read_spec

BUNDLES = Path(__file__).parent.parent / "models" / "bundles"
CHAR_LM = BUNDLES / "char-lm"
CHUNK = 512
"""Time steps of one chunk: some thirty lines of text."""
PROMPTS = ("def ", "class ", "import ", "for ", "    if ", "# The ", "try:\n", "with ")
TYPED = 160
"""Characters that each session types."""
TEMPERATURE = 0.6

SCENES = {
    "one_to_one": "one to one: which character follows one character",
    "one_to_many": "one to many: a character model writes Python, on the server",
    "many_to_one": "many to one: digits, row by row",
    "many_to_many": "many to many: sunspots, a month ahead at every month, then running free",
    "sequence_to_sequence": "sequence to sequence: dates, from an encoder's session to a decoder's",
    "policy": "a policy: 500 poles balanced by one pool of sessions",
    "anomaly": "anomalies: what a forecaster did not expect",
}
"""The examples, by module."""

Logits = NDArray[np.float32]


def main() -> int:
    """Runs the demo; the exit code."""
    torch.set_num_threads(1)
    with served(BUNDLES) as (address, metrics_url), elman.Client(address) as client:
        model = client.model("char-lm")
        agree = stream_file(model)
        began = time.monotonic()
        steps = type_together(model)
        print(f"\n{steps / (time.monotonic() - began):,.0f} session-steps/s, one character of eight sessions per call")
        print_metrics(metrics_url)
        play_scenes(address)
    return 0 if agree else 1


def play_scenes(address: str) -> None:
    """Each example, with how long it took."""
    for module, form in SCENES.items():
        print(f"\n{form}")
        began = time.monotonic()
        importlib.import_module(f"examples.{module}").main(address)
        print(f"  ({time.monotonic() - began:.1f} s)")


@contextmanager
def served(bundles: Path) -> Iterator[tuple[str, str]]:
    """A server on free loopback ports: its address and the address of its metrics."""
    loopback = "127.0.0.1:0"
    command = [sys.executable, "-m", "elman_server", "serve", "--models", str(bundles)]
    command += ["--listen", loopback, "--metrics-listen", loopback]
    command += ["--warm-up-seconds", "3"]  # of each model
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if " on " not in line:
                raise SystemExit("demo: the server did not start")
            print(line, end="")
            yield line.split(" on ")[1].split()[0], line.split()[-1]
        finally:
            server.terminate()


def stream_file(model: elman.Model) -> bool:
    """Streams a held-out file through one session, and the same through torch in process; whether they agree."""
    path, text = held_out_text()
    tokens = np.frombuffer(text, np.uint8).astype(np.int64)
    print(f"\nstreaming {path.name}, {len(text):,} characters that the model has never seen, in chunks of {CHUNK}")
    began = time.monotonic()
    with model.session() as session:
        chunks = (tokens[at : at + CHUNK] for at in range(0, len(tokens) - 1, CHUNK))
        logits = np.concatenate(list(session.stream(chunks)))
    seconds = time.monotonic() - began
    served_bits, torch_bits = bits_per_character(logits, tokens), bits_per_character(in_process(tokens), tokens)
    card = model.info.metadata["held_out_bits_per_character"]
    print(f"  through the server  {served_bits:.3f} bits per character, {len(text) / seconds:,.0f} characters/s")
    print(f"  torch in process    {torch_bits:.3f}")
    print(f"  the model card      {card} over all held-out files")
    return f"{served_bits:.3f}" == f"{torch_bits:.3f}"


def held_out_text() -> tuple[Path, bytes]:
    """The held-out file nearest to 20,000 characters, behind the character that begins every file."""
    corpus = bundle_module("corpus")
    path = min(corpus.held_out_files(), key=lambda p: abs(p.stat().st_size - 20_000))
    return path, corpus.SEPARATOR.encode() + corpus.read_characters(path)


def bundle_module(name: str) -> ModuleType:
    """A script of the bundle's folder."""
    found = importlib.util.spec_from_file_location(name, CHAR_LM / f"{name}.py")
    if found is None or found.loader is None:
        raise ImportError(f"{CHAR_LM / name}.py is not there")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def in_process(tokens: NDArray[np.int64]) -> Logits:
    """[T, 128] what plain torch.nn makes of the whole sequence in one call."""
    spec = read_spec(CHAR_LM)
    stack = load(CHAR_LM, torch.device("cpu"))
    whole = Packed(torch.from_numpy(tokens), np.ones(len(tokens), np.int64))
    logits, _ = stack.step(whole, stack.initial_state(1))
    if logits.shape != (len(tokens), spec.output_size):
        raise ValueError(f"expected logits of shape {(len(tokens), spec.output_size)}, got {tuple(logits.shape)}")
    return np.asarray(logits.numpy())


def bits_per_character(logits: Logits, tokens: NDArray[np.int64]) -> float:
    """Mean of -log2 p(next character), over all characters but the first."""
    losses = torch.nn.functional.cross_entropy(
        torch.tensor(logits[: len(tokens) - 1]).double(), torch.from_numpy(tokens[1:])
    )
    return float(losses) / math.log(2)


def type_together(model: elman.Model) -> int:
    """Eight sessions type at once, each next character sampled here and fed back; the session-steps that it took."""
    rng = np.random.default_rng(7)
    lines = [""] * len(PROMPTS)
    screen = Screen(len(PROMPTS))
    print(f"\n{len(PROMPTS)} sessions typing at once")
    with model.sessions(len(PROMPTS)) as pool:
        prompts = [np.frombuffer(f"\f{prompt}".encode(), np.uint8).astype(np.int64) for prompt in PROMPTS]
        logits = np.stack([output[-1] for output in pool.step(prompts)])
        for _ in range(TYPED):
            ids = sample(logits, rng)
            lines = [line + chr(int(i)) for line, i in zip(lines, ids, strict=True)]
            screen.show([prompt + line for prompt, line in zip(PROMPTS, lines, strict=True)])
            logits = pool.step(ids)
    screen.finish([prompt + line for prompt, line in zip(PROMPTS, lines, strict=True)])
    return sum(map(len, prompts)) + TYPED * len(PROMPTS)


def sample(logits: Logits, rng: np.random.Generator) -> NDArray[np.int64]:
    """[B] one character of each row's softmax at TEMPERATURE, by the Gumbel-max trick (Gumbel 1954)."""
    chosen: NDArray[np.int64] = np.argmax(logits / TEMPERATURE + rng.gumbel(size=logits.shape), axis=1)
    return chosen


class Screen:
    """Lines that change in place on a terminal; elsewhere only the last of them are printed."""

    def __init__(self, num_lines: int) -> None:
        self._live = sys.stdout.isatty()
        self._width = os.get_terminal_size().columns - 1 if self._live else 100
        if self._live:
            print("\n" * (num_lines - 1))

    def show(self, lines: list[str]) -> None:
        """The lines as they are now, by their ends."""
        if self._live:
            print(f"\x1b[{len(lines)}A" + "\n".join(f"\x1b[2K{self._fit(line)}" for line in lines), flush=True)

    def finish(self, lines: list[str]) -> None:
        """What was typed, line breaks and all."""
        for number, line in enumerate(lines, 1):
            print(f"--- session {number}")
            print("".join(c if c.isprintable() or c == "\n" else "?" for c in line))

    def _fit(self, line: str) -> str:
        flat = line.replace("\n", "⏎")
        return "".join(c if c.isprintable() else "?" for c in flat)[-self._width :]


def print_metrics(url: str) -> None:
    """A few of the server's metrics of char-lm."""
    wanted = (
        "elman_session_steps_total",
        "elman_padded_steps_total",
        "elman_launches_total",
        "elman_batch_rows_sum",
        "elman_compute_seconds_sum",
        "elman_sessions_opened_total",
    )
    with urllib.request.urlopen(url) as response:
        for line in response.read().decode().splitlines():
            if line.startswith(wanted) and 'model="char-lm"' in line:
                print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
