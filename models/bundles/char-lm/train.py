"""Train the char-lm bundle: a character LSTM on the Python standard library's own source.

    python train.py --minutes 60             # train, refreshing the bundle in this folder as it goes
    python train.py --minutes 60 --resume    # continue an interrupted run from checkpoint.pt
    python train.py --evaluate               # bits per character of weights.safetensors, file by file
    python train.py --sample "def read_"     # let weights.safetensors continue a prompt

Tokens are ASCII codes. Tensors are seq-first, as torch.nn.LSTM has them: [seq_len, batch, ...].
"""

import argparse
import hashlib
import math
import os
import random
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent
CHECKPOINT = FOLDER / "checkpoint.pt"
WEIGHTS = FOLDER / "weights.safetensors"

NUM_TOKENS = 128
EMBEDDING_DIM = 64
HIDDEN_SIZE = 256
NUM_LAYERS = 2

SEPARATOR = 12  # form feed: what stands before a file's first character
HELD_OUT_PERCENT = 5
MAX_TRAINING_CHARS_PER_FILE = 200_000
# Tables that a program wrote, and lib2to3's deliberately odd fixtures: no help in learning to write Python.
EXCLUDED_FOLDERS = ("site-packages", "encodings", "pydoc_data", "lib2to3/tests/data")

NUM_STREAMS = 64
SEQ_LEN = 128
CHARS_PER_STEP = NUM_STREAMS * SEQ_LEN
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
MAX_GRADIENT_NORM = 1.0
# Now and then a stream forgets, so that the model also learns to start from the zero state a session starts from.
FORGET_PROBABILITY = 0.01

REPORT_SECONDS = 10.0
CHECKPOINT_SECONDS = 60.0
PUBLISH_SECONDS = 600.0

State = tuple[Tensor, Tensor]  # h_n, c_n: each [num_layers, batch, hidden_size], float32


def stdlib_folder() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def source_files() -> list[Path]:
    """Every source file of the corpus, sorted by its path inside the standard library."""
    root = stdlib_folder()
    excluded = [root / folder for folder in EXCLUDED_FOLDERS]
    files = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in files if not any(map(path.is_relative_to, excluded)))


def is_held_out(path: Path) -> bool:
    """Whether a file is held out: by a hash of its path, so that the answer is the same on every machine."""
    name = path.relative_to(stdlib_folder()).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100 < HELD_OUT_PERCENT


def held_out_files() -> list[Path]:
    """The files the model has never seen, sorted."""
    return [path for path in source_files() if is_held_out(path)]


def training_files() -> list[Path]:
    """The files the model learns from, sorted."""
    return [path for path in source_files() if not is_held_out(path)]


def encode(text: str) -> Tensor:
    """Token ids of a text, uint8 [len(text)]; a character outside ASCII becomes '?'."""
    return torch.frombuffer(bytearray(text.encode("ascii", "replace")), dtype=torch.uint8)


def read_tokens(path: Path) -> Tensor:
    """A whole file, led by the separator: uint8 [1 + characters]."""
    return encode(chr(SEPARATOR) + path.read_text("utf-8", errors="replace"))


class CharLM(nn.Module):
    """The served stack: embedding, LSTM, head. Its state_dict has the bundle's keys."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_TOKENS, EMBEDDING_DIM)
        self.rnn = nn.LSTM(EMBEDDING_DIM, HIDDEN_SIZE, NUM_LAYERS)
        self.head = nn.Linear(HIDDEN_SIZE, NUM_TOKENS)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """tokens [seq_len, batch], integers -> logits [seq_len, batch, NUM_TOKENS], state."""
        output, (h_n, c_n) = self.rnn(self.embedding(tokens.long()), state)
        return self.head(output), (h_n, c_n)


def initial_state(batch: int) -> State:
    """The zero state of `batch` sequences."""
    zeros = torch.zeros(NUM_LAYERS, batch, HIDDEN_SIZE)
    return zeros, zeros.clone()


def new_model() -> CharLM:
    """Fresh weights; forget gates begin open, without which long memory is learned late."""
    model = CharLM()
    for layer in range(NUM_LAYERS):
        bias: Tensor = getattr(model.rnn, f"bias_ih_l{layer}")
        bias.data[HIDDEN_SIZE : 2 * HIDDEN_SIZE] = 1.0
    return model


def load_model() -> CharLM:
    """The model as the bundle has it."""
    model = CharLM()
    model.load_state_dict(load_file(WEIGHTS))
    return model


def token_bits(logits: Tensor, targets: Tensor) -> Tensor:
    """The cost of each target in bits: [seq_len, batch]."""
    nats = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.long().flatten(), reduction="none")
    return nats.view(targets.shape) / math.log(2)


@torch.no_grad()
def bits_per_file(model: CharLM, texts: list[Tensor], seq_len: int = 256) -> list[float]:
    """Total bits of each text (as `read_tokens` gives them), each streamed whole from the zero state.

    Texts run side by side only to save time: rows are sorted by length and leave the batch as they end.
    """
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    padded = nn.utils.rnn.pad_sequence([texts[row] for row in order])  # [longest, batch]
    lengths = torch.tensor([len(texts[row]) - 1 for row in order])
    total_bits = torch.zeros(len(texts), dtype=torch.float64)
    h, c = initial_state(len(texts))
    for start in range(0, int(lengths[0]), seq_len):
        rows = int((lengths > start).sum())
        stop = min(start + seq_len, int(lengths[0]))
        logits, (h, c) = model(padded[start:stop, :rows], (h[:, :rows].contiguous(), c[:, :rows].contiguous()))
        inside = torch.arange(start, stop).unsqueeze(1) < lengths[:rows]
        bits = token_bits(logits, padded[start + 1 : stop + 1, :rows])
        total_bits[:rows] += (bits * inside).sum(0, dtype=torch.float64)
    return [float(total_bits[order.index(row)]) for row in range(len(texts))]


def held_out_bits_per_character(model: CharLM, texts: list[Tensor]) -> float:
    """The mean over all characters of all texts."""
    return sum(bits_per_file(model, texts)) / sum(len(text) - 1 for text in texts)


@torch.no_grad()
def sample(model: CharLM, prompt: str, num_chars: int, temperature: float, seed: int) -> Iterator[str]:
    """Characters that follow a prompt, which itself follows the separator and the zero state."""
    generator = torch.Generator().manual_seed(seed)
    logits, state = model(encode(chr(SEPARATOR) + prompt).unsqueeze(1), initial_state(1))
    for _ in range(num_chars):
        probabilities = torch.softmax(logits[-1, 0] / temperature, dim=0)
        token = torch.multinomial(probabilities, 1, generator=generator)
        yield chr(int(token))
        logits, state = model(token.unsqueeze(1), state)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the path, then rename over it: a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


MODEL_YAML = """\
name: char-lm
version: "1"
description: Character LSTM trained on the Python standard library's source
cell: lstm
input_size: {EMBEDDING_DIM}
hidden_size: {HIDDEN_SIZE}
num_layers: {NUM_LAYERS}
bias: true
bidirectional: false
proj_size: 0
embedding: {{num_embeddings: {NUM_TOKENS}, embedding_dim: {EMBEDDING_DIM}}}
head: {{out_features: {NUM_TOKENS}, bias: true}}
metadata:
  tokens: ascii
  held_out_bits_per_character: "{bits:.3f}"
"""


def publish(model: CharLM, bits: float) -> None:
    """Refresh the bundle: weights.safetensors, and model.yaml with its held-out figure."""
    sizes = {name: value for name, value in globals().items() if isinstance(value, int)}
    text = MODEL_YAML.format(bits=bits, **sizes)
    yaml.safe_load(text)
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    replace_file(WEIGHTS, lambda partial: save_file(weights, partial))
    replace_file(FOLDER / "model.yaml", lambda partial: partial.write_text(text))


def shuffled_columns(texts: list[Tensor], seed: int) -> Tensor:
    """The training files in a new order, cut into streams: uint8 [chars per stream, NUM_STREAMS]."""
    tokens = torch.cat(random.Random(seed).sample(texts, len(texts)))
    return tokens[: len(tokens) // NUM_STREAMS * NUM_STREAMS].view(NUM_STREAMS, -1).t().contiguous()


@dataclass
class Progress:
    """Where a run is; all that a resumed one needs beside tensors."""

    step: int = 0
    epoch: int = 0
    offset: int = 0  # characters of each stream already read in this epoch
    elapsed_seconds: float = 0.0


class Training:
    """One run of truncated backpropagation through time, each stream's state carried from step to step."""

    def __init__(self, budget_seconds: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.budget_seconds = budget_seconds
        self.seed = seed
        self.model = new_model()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
        self.state = initial_state(NUM_STREAMS)
        self.progress = Progress()
        self.texts = [read_tokens(path)[:MAX_TRAINING_CHARS_PER_FILE] for path in training_files()]
        self.held_out = [read_tokens(path) for path in held_out_files()]
        self.columns = shuffled_columns(self.texts, seed)

    def save(self) -> None:
        """Write checkpoint.pt."""
        checkpoint = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
            "seed": self.seed,
            "progress": asdict(self.progress),
        }
        replace_file(CHECKPOINT, lambda partial: torch.save(checkpoint, partial))

    def restore(self) -> None:
        """Continue where checkpoint.pt stopped, with its seed."""
        checkpoint = torch.load(CHECKPOINT, weights_only=True)
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.state, self.seed = checkpoint["state"], checkpoint["seed"]
        self.progress = Progress(**checkpoint["progress"])
        self.columns = shuffled_columns(self.texts, self.seed + self.progress.epoch)

    def learning_rate(self) -> float:
        """A short warmup by steps, then a cosine that reaches zero when the time budget ends."""
        warmup = min(1.0, (self.progress.step + 1) / WARMUP_STEPS)
        done = min(1.0, self.progress.elapsed_seconds / self.budget_seconds)
        return PEAK_LEARNING_RATE * warmup * 0.5 * (1.0 + math.cos(math.pi * done))

    def next_chunk(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, uint8 [SEQ_LEN, NUM_STREAMS] each."""
        progress = self.progress
        if progress.offset + SEQ_LEN >= len(self.columns):
            progress.epoch, progress.offset = progress.epoch + 1, 0
            self.columns = shuffled_columns(self.texts, self.seed + progress.epoch)
            self.state = initial_state(NUM_STREAMS)
        start, stop = progress.offset, progress.offset + SEQ_LEN
        progress.offset = stop
        return self.columns[start:stop], self.columns[start + 1 : stop + 1]

    def carried_state(self) -> State:
        """The state to start this step from: the last one's, zeroed for the few streams that forget."""
        # A generator per step, so that a resumed run draws what an uninterrupted one would have.
        generator = torch.Generator().manual_seed(self.seed + self.progress.step)
        keep = (torch.rand(NUM_STREAMS, 1, generator=generator) >= FORGET_PROBABILITY).float()
        h, c = self.state
        return h * keep, c * keep

    def step(self) -> float:
        """One optimizer step; its loss in bits per character."""
        inputs, targets = self.next_chunk()
        # bfloat16 matmuls on float32 weights: 1.6 times the speed where the CPU has them.
        with torch.autocast("cpu", torch.bfloat16):
            logits, (h, c) = self.model(inputs, self.carried_state())
        loss = token_bits(logits, targets).mean()
        (loss * math.log(2)).backward()  # gradients in nats, the unit learning rates are known for
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state = h.detach().float(), c.detach().float()
        self.progress.step += 1
        return float(loss.detach())

    def publish(self) -> None:
        """Refresh the bundle, and say how good it is by now."""
        bits = held_out_bits_per_character(self.model, self.held_out)
        publish(self.model, bits)
        print(f"held-out {bits:.4f} bits per character; bundle refreshed", flush=True)

    def report(self, losses: list[float], seconds: float) -> None:
        """One line of progress."""
        progress = self.progress
        left = max(0.0, self.budget_seconds - progress.elapsed_seconds)
        print(
            f"step {progress.step:6d}  epoch {progress.epoch}  {progress.step * CHARS_PER_STEP / 1e6:7.2f}M chars"
            f"  {len(losses) * CHARS_PER_STEP / seconds / 1e3:5.1f}k chars/s  lr {self.learning_rate():.5f}"
            f"  loss {sum(losses) / len(losses):.4f} bits/char  ETA {left / 60:5.1f} min",
            flush=True,
        )

    def run(self) -> None:
        """Train until the time budget ends; publish then, and every PUBLISH_SECONDS before."""
        clock = time.monotonic()
        reported = saved = published = self.progress.elapsed_seconds
        losses: list[float] = []
        while self.progress.elapsed_seconds < self.budget_seconds:
            losses.append(self.step())
            now = time.monotonic()
            self.progress.elapsed_seconds, clock = self.progress.elapsed_seconds + now - clock, now
            elapsed = self.progress.elapsed_seconds
            if elapsed - reported >= REPORT_SECONDS:
                self.report(losses, elapsed - reported)
                reported, losses = elapsed, []
            if elapsed - saved >= CHECKPOINT_SECONDS:
                self.save()
                saved = elapsed
            if elapsed - published >= PUBLISH_SECONDS:
                self.publish()
                published = elapsed
        self.save()
        self.publish()


def train(minutes: float, seed: int, resume: bool) -> None:
    """The whole run, in the foreground."""
    training = Training(minutes * 60, seed)
    if resume:
        training.restore()
    num_chars = sum(map(len, training.texts))
    print(f"{len(training.texts)} training files, {num_chars / 1e6:.2f}M chars; {len(training.held_out)} held out")
    training.run()


def evaluate() -> None:
    """Print the bundle's bits per character, for each held-out file and over all their characters."""
    files = held_out_files()
    texts = [read_tokens(path) for path in files]
    bits = bits_per_file(load_model(), texts)
    for path, text, file_bits in zip(files, texts, bits, strict=True):
        num_chars = len(text) - 1
        print(f"{file_bits / max(1, num_chars):7.3f}  {num_chars:7d}  {path.relative_to(stdlib_folder())}")
    num_chars = sum(len(text) - 1 for text in texts)
    print(f"{sum(bits) / num_chars:7.3f}  {num_chars:7d}  all {len(files)} held-out files")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train, evaluate or sample the char-lm bundle.")
    parser.add_argument("--minutes", type=float, default=60.0, help="wall-clock budget of the whole run")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoint.pt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    parser.add_argument("--evaluate", action="store_true", help="print held-out figures of the bundle and stop")
    parser.add_argument("--sample", metavar="PROMPT", help="continue a prompt with the bundle and stop")
    parser.add_argument("--num-chars", type=int, default=1500, help="length of the sample")
    parser.add_argument("--temperature", type=float, default=0.7)
    return parser.parse_args()


def main() -> None:
    """Do what the command line asks."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate:
        evaluate()
    elif arguments.sample is not None:
        prompt = arguments.sample
        text = sample(load_model(), prompt, arguments.num_chars, arguments.temperature, arguments.seed)
        print(prompt, *text, sep="")
    else:
        train(arguments.minutes, arguments.seed, arguments.resume)


if __name__ == "__main__":
    main()
