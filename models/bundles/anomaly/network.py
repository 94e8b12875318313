"""The network: an LSTM that forecasts the next hour; what it forecasts badly is out of the ordinary."""

import torch
from torch import Tensor, nn

HIDDEN_SIZE = 32


class Forecaster(nn.Module):
    """load [B, T, 1] -> next_hour [B, T, 1]; scaling is inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, 1)
        self.register_buffer("mean", torch.tensor([mean]))
        self.register_buffer("std", torch.tensor([std]))

    def forward(self, load: Tensor) -> dict[str, Tensor]:
        """What is served."""
        scaled = (load - self.mean) / self.std
        output, _ = self.lstm(scaled)
        return {"next_hour": (scaled + self.head(output)) * self.std + self.mean}
