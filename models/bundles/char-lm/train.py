"""Train the char-lm bundle: a character LSTM on the Python standard library's own source.

From anywhere, with torch and safetensors installed:

    python train.py --minutes 60             # train, refreshing the bundle in this folder as it goes
    python train.py --minutes 60 --resume    # continue an interrupted run from checkpoint.pt
"""

import argparse
import math
import random
import time
from dataclasses import asdict, dataclass

import torch
from bundle import FOLDER, replace_file, save_bundle
from corpus import SEPARATOR, held_out_files, read_characters, training_files
from network import CharLM, State, as_tokens, initial_state, new_network, token_bits, total_bits
from torch import Tensor, nn

CHECKPOINT = FOLDER / "checkpoint.pt"

MAX_TRAINING_CHARS_PER_FILE = 200_000
NUM_STREAMS = 64
SEQ_LEN = 128
CHARS_PER_STEP = NUM_STREAMS * SEQ_LEN
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
MAX_GRADIENT_NORM = 1.0
# Now and then a stream forgets, so that the network also learns to start from the zero state, as a session does.
FORGET_PROBABILITY = 0.01

REPORT_SECONDS = 10.0
CHECKPOINT_SECONDS = 60.0
PUBLISH_SECONDS = 600.0


def shuffled_columns(texts: list[Tensor], seed: int) -> Tensor:
    """The texts in a new order, cut into streams: uint8 [chars per stream, NUM_STREAMS]."""
    tokens = torch.cat(random.Random(seed).sample(texts, len(texts)))
    return tokens[: len(tokens) // NUM_STREAMS * NUM_STREAMS].view(NUM_STREAMS, -1).t().contiguous()


@dataclass
class Progress:
    """Where a run is: all that a resumed one needs beside tensors."""

    step: int = 0
    epoch: int = 0
    offset: int = 0  # characters of each stream already read in this epoch
    elapsed_seconds: float = 0.0


@dataclass
class Timer:
    """Says when something periodic is due, on the run's own clock."""

    period_seconds: float
    last_seconds: float

    def due(self, elapsed_seconds: float) -> bool:
        """Whether a period has passed; if so, the next one begins."""
        is_due = elapsed_seconds - self.last_seconds >= self.period_seconds
        if is_due:
            self.last_seconds = elapsed_seconds
        return is_due


class Training:
    """One run of truncated backpropagation through time, each stream's state carried from step to step."""

    def __init__(self, budget_seconds: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.budget_seconds = budget_seconds
        self.seed = seed
        self.network: CharLM = new_network()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
        self.state: State = initial_state(NUM_STREAMS)
        self.progress = Progress()
        self.losses: list[float] = []  # bits per character of each step since the last report
        separator = SEPARATOR.encode()
        texts = [as_tokens(separator + read_characters(path)) for path in training_files()]
        self.texts = [text[:MAX_TRAINING_CHARS_PER_FILE] for text in texts]
        self.held_out = [as_tokens(separator + read_characters(path)) for path in held_out_files()]
        self.columns = shuffled_columns(self.texts, seed)

    def save(self) -> None:
        """Write checkpoint.pt."""
        checkpoint = {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
            "seed": self.seed,
            "progress": asdict(self.progress),
        }
        replace_file(CHECKPOINT, lambda partial: torch.save(checkpoint, partial))

    def restore(self) -> None:
        """Continue where checkpoint.pt stopped, with its seed."""
        checkpoint = torch.load(CHECKPOINT, weights_only=True)
        self.network.load_state_dict(checkpoint["model"])
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

    def step(self) -> None:
        """One chunk of every stream: forward, backward, update."""
        inputs, targets = self.next_chunk()
        # bfloat16 products of float32 weights: 1.6 times the speed on a CPU that has them.
        with torch.autocast("cpu", torch.bfloat16):
            logits, (h, c) = self.network(inputs, self.carried_state())
        bits = token_bits(logits, targets).mean()
        self.update(bits * math.log(2))  # in nats, which learning rates are commonly quoted for
        self.state = h.detach().float(), c.detach().float()
        self.losses.append(float(bits.detach()))
        self.progress.step += 1

    def update(self, loss: Tensor) -> None:
        """One optimizer step."""
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def publish(self) -> None:
        """Refresh the bundle, and say how good it is by now."""
        num_chars = sum(len(text) - 1 for text in self.held_out)
        bits_per_character = sum(total_bits(self.network, self.held_out)) / num_chars
        save_bundle(self.network, bits_per_character)
        print(f"held-out {bits_per_character:.4f} bits per character; bundle refreshed", flush=True)

    def report(self, seconds: float) -> None:
        """One line on the steps of the last `seconds`."""
        progress, losses = self.progress, self.losses
        left_seconds = max(0.0, self.budget_seconds - progress.elapsed_seconds)
        print(
            f"step {progress.step:6d}  epoch {progress.epoch}  {progress.step * CHARS_PER_STEP / 1e6:7.2f}M chars"
            f"  {len(losses) * CHARS_PER_STEP / seconds / 1e3:5.1f}k chars/s  lr {self.learning_rate():.5f}"
            f"  loss {sum(losses) / len(losses):.4f} bits/char  ETA {left_seconds / 60:5.1f} min",
            flush=True,
        )
        losses.clear()

    def run(self) -> None:
        """Train until the time budget ends; publish then, and every PUBLISH_SECONDS before."""
        begin = time.monotonic() - self.progress.elapsed_seconds
        periods = (REPORT_SECONDS, CHECKPOINT_SECONDS, PUBLISH_SECONDS)
        report, save, publish = (Timer(period, self.progress.elapsed_seconds) for period in periods)
        while self.progress.elapsed_seconds < self.budget_seconds:
            self.step()
            elapsed = self.progress.elapsed_seconds = time.monotonic() - begin
            reported = report.last_seconds
            if report.due(elapsed):
                self.report(elapsed - reported)
            if save.due(elapsed):
                self.save()
            if publish.due(elapsed):
                self.publish()
        self.save()
        self.publish()


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the char-lm bundle.")
    parser.add_argument("--minutes", type=float, default=60.0, help="wall-clock budget of the whole run")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoint.pt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    return parser.parse_args()


def main() -> None:
    """The whole run, in the foreground."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    training = Training(arguments.minutes * 60, arguments.seed)
    if arguments.resume:
        training.restore()
    num_chars = sum(map(len, training.texts))
    print(f"{len(training.texts)} training files, {num_chars} characters; {len(training.held_out)} held out")
    training.run()


if __name__ == "__main__":
    main()
