"""The network as plain torch modules: what is trained here, and what the server rebuilds from the bundle.

Tokens are ASCII codes. Tensors are seq-first, as torch.nn.LSTM has them: [seq_len, batch, ...].
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

NUM_TOKENS = 128
EMBEDDING_DIM = 64
HIDDEN_SIZE = 256
NUM_LAYERS = 2

State = tuple[Tensor, Tensor]  # h_n, c_n: each [num_layers, batch, hidden_size], float32


class CharLM(nn.Module):
    """Embedding, LSTM, head. Its state_dict has the bundle's keys."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_TOKENS, EMBEDDING_DIM)
        self.rnn = nn.LSTM(EMBEDDING_DIM, HIDDEN_SIZE, NUM_LAYERS)
        self.head = nn.Linear(HIDDEN_SIZE, NUM_TOKENS)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """tokens [seq_len, batch], integers -> logits [seq_len, batch, NUM_TOKENS], state."""
        output, (h_n, c_n) = self.rnn(self.embedding(tokens.long()), state)
        return self.head(output), (h_n, c_n)


def new_network() -> CharLM:
    """Fresh weights; forget gates begin open, without which long memory is learned late."""
    network = CharLM()
    for layer in range(NUM_LAYERS):
        bias: Tensor = getattr(network.rnn, f"bias_ih_l{layer}")  # [4 * hidden_size], gates i, f, g, o
        bias.data[HIDDEN_SIZE : 2 * HIDDEN_SIZE] = 1.0
    return network


def initial_state(batch: int) -> State:
    """The zero state of `batch` sequences."""
    zeros = torch.zeros(NUM_LAYERS, batch, HIDDEN_SIZE)
    return zeros, zeros.clone()


def as_tokens(characters: bytes) -> Tensor:
    """Token ids, uint8 [len(characters)]."""
    return torch.frombuffer(bytearray(characters), dtype=torch.uint8)


def token_bits(logits: Tensor, targets: Tensor) -> Tensor:
    """The cost of each target in bits: [seq_len, batch]."""
    nats = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.long().flatten(), reduction="none")
    return nats.view(targets.shape) / math.log(2)


@torch.no_grad()
def total_bits(network: CharLM, texts: list[Tensor], seq_len: int = 256) -> list[float]:
    """What each text costs from its second token on, each streamed whole from the zero state.

    Texts run side by side only to save time: rows are sorted by length and leave the batch as they end.
    """
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    padded = nn.utils.rnn.pad_sequence([texts[row] for row in order])  # [longest, batch]
    lengths = torch.tensor([len(texts[row]) - 1 for row in order])
    totals = torch.zeros(len(texts), dtype=torch.float64)
    h, c = initial_state(len(texts))
    for start in range(0, int(lengths[0]), seq_len):
        stop = min(start + seq_len, int(lengths[0]))
        rows = int((lengths > start).sum())
        logits, (h, c) = network(padded[start:stop, :rows], (h[:, :rows].contiguous(), c[:, :rows].contiguous()))
        inside = torch.arange(start, stop).unsqueeze(1) < lengths[:rows]
        bits = token_bits(logits, padded[start + 1 : stop + 1, :rows])
        totals[:rows] += (bits * inside).sum(0, dtype=torch.float64)
    by_text = dict(zip(order, totals.tolist(), strict=True))
    return [by_text[row] for row in range(len(texts))]


@torch.no_grad()
def sample(network: CharLM, prompt: bytes, num_chars: int, temperature: float, seed: int) -> Iterator[str]:
    """The characters that follow a prompt, which starts from the zero state."""
    generator = torch.Generator().manual_seed(seed)
    logits, state = network(as_tokens(prompt).unsqueeze(1), initial_state(1))
    for _ in range(num_chars):
        probabilities = torch.softmax(logits[-1, 0] / temperature, dim=0)
        token = torch.multinomial(probabilities, 1, generator=generator)
        yield chr(int(token))
        logits, state = network(token.unsqueeze(1), state)
