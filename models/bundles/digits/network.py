"""The network: a GRU that reads an image from top to bottom, a row a time step, and says the digit after the last."""

import torch
from torch import Tensor, nn

HIDDEN_SIZE = 64


class Digits(nn.Module):
    """rows [B, T, 8], pixels of 0 to 16 -> digit [B, 10]: probabilities, after the last row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, 10)

    def logits(self, rows: Tensor) -> Tensor:
        """[B, 10], before the softmax."""
        output, _ = self.gru(rows / 16)
        logits: Tensor = self.head(output[:, -1])
        return logits

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """What is served."""
        return {"digit": torch.softmax(self.logits(rows), -1)}
