"""Two networks: an encoder whose state, when it has read a date, is all that the decoder begins with."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START

HIDDEN_SIZE = 96


class Encoder(nn.Module):
    """text [B, T], ASCII codes -> memory [B, HIDDEN_SIZE], which is its state after the last character."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 32)
        self.gru = nn.GRU(32, HIDDEN_SIZE, batch_first=True)

    def read(self, texts: list[Tensor]) -> Tensor:
        """The state after each of them: [1, B, HIDDEN_SIZE]."""
        _, state = self.gru(pack_sequence([self.embedding(text) for text in texts], enforce_sorted=False))
        return state  # type: ignore[no-any-return]

    def forward(self, text: Tensor) -> dict[str, Tensor]:
        """What is served."""
        return {"memory": self.gru(self.embedding(text))[0][:, -1]}


class Decoder(nn.Module):
    """previous [B, T]: tokens, START first -> next [B, T, 11]: log-probabilities of the tokens that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ISO_CHARACTERS) + 1, 16)
        self.gru = nn.GRU(16, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, len(ISO_CHARACTERS))

    def write(self, previous: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and the next state."""
        output, state = self.gru(self.embedding(previous), state)
        return torch.log_softmax(self.head(output), -1), state

    def forward(self, previous: Tensor) -> dict[str, Tensor]:
        """What is served."""
        output, _ = self.gru(self.embedding(previous))
        return {"next": torch.log_softmax(self.head(output), -1)}


class Translator(nn.Module):
    """Both, to be trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, texts: list[Tensor], previous: Tensor) -> Tensor:
        """Log-probabilities [B, T, 11] of what follows each of the previous tokens."""
        return self.decoder.write(previous, self.encoder.read(texts))[0]

    @torch.no_grad()
    def translate(self, texts: list[Tensor]) -> list[str]:
        """Each text's date, the likeliest character taken at each step."""
        state, tokens, characters = self.encoder.read(texts), torch.full((len(texts), 1), START), []
        for _ in range(ISO_LENGTH):
            said, state = self.decoder.write(tokens, state)
            tokens = said.argmax(-1)
            characters.append(tokens[:, 0].tolist())
        return ["".join(ISO_CHARACTERS[token] for token in row) for row in zip(*characters, strict=True)]
