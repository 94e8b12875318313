"""The network: an LSTM that forecasts the next month. It takes and gives sunspot numbers: scaling is inside."""

import torch
from torch import Tensor, nn

HIDDEN_SIZE = 32


class Sunspots(nn.Module):
    """months [B, T, 1] -> next_month [B, T, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, 1)
        self.register_buffer("mean", torch.tensor([mean]))
        self.register_buffer("std", torch.tensor([std]))

    def forward(self, months: Tensor) -> dict[str, Tensor]:
        """What is served."""
        scaled = (months - self.mean) / self.std
        output, _ = self.lstm(scaled)
        return {"next_month": (scaled + self.head(output)) * self.std + self.mean}

    def run_free(self, months: Tensor, ahead: int) -> Tensor:
        """months [B, T, 1] -> [B, T + ahead - 1, 1]: a step ahead of each month, then of its own forecasts."""
        scaled = (months - self.mean) / self.std
        output, state = self.lstm(scaled)
        forecasts = [scaled + self.head(output)]
        for _ in range(ahead - 1):
            last = forecasts[-1][:, -1:]
            output, state = self.lstm(last, state)
            forecasts.append(last + self.head(output))
        return torch.cat(forecasts, 1) * self.std + self.mean
