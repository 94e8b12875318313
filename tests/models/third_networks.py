"""More networks as people write them: of each family of `network_families` that had but one, another."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it


class LoadForecaster(nn.Module):
    """Hourly load: scaled by median and range, a stack without biases that begins with what was learned, a norm before
    the head, and scaled back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("median", torch.randn(4))
        self.register_buffer("iqr", torch.rand(4) + 0.5)
        self.begin = nn.ParameterList([nn.Parameter(torch.randn(2, 1, 6)) for _ in range(2)])
        self.lstm, self.head = nn.LSTM(4, 6, 2, bias=False), nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4))

    def forward(self, load: torch.Tensor) -> torch.Tensor:
        h_0, c_0 = (part.expand(-1, load.size(1), -1).contiguous() for part in self.begin)
        y, _ = self.lstm((load - self.median) / self.iqr, (h_0, c_0))
        return self.head(y) * self.iqr + self.median


class NextItem(nn.Module):
    """As GRU4Rec has it: items as they are numbered, one of all; the scores of all through tanh, of them the best."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.scores = nn.GRU(17, 9, 2, dropout=0.1), nn.Linear(9, 17)

    def forward(self, items: torch.Tensor) -> Any:
        y, _ = self.gru(F.one_hot(items, 17).float())
        return torch.tanh(self.scores(y)).topk(5, dim=-1)


class KeywordNet(nn.Module):
    """Convolutions over time and bands, normed by groups, a stack without biases, two layers on its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(5, 6, 3, padding=1), nn.GroupNorm(2, 6)
        self.gru = nn.GRU(6, 4, 2, bias=False, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, mfcc: torch.Tensor) -> torch.Tensor:
        x = F.hardtanh(self.conv(mfcc.transpose(1, 2)), -2, 2).transpose(1, 2)
        x = self.norm(x.flatten(0, 1)).view_as(x)
        return self.fc2(F.relu(self.fc1(self.gru(x)[0][:, -1])))


class WakeStream(nn.Module):
    """A word as it is said: some of the bands, a convolution that looks back, a GRU, two layers, a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(4, 6, 4), nn.GRU(6, 5, batch_first=True)
        self.head = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(F.pad(mel[..., 1:5].transpose(1, 2), (3, 0))))
        return torch.sigmoid(self.head(self.gru(x.transpose(1, 2))[0])).squeeze(-1)


class NarrowedSeries(nn.Module):
    """An autoencoder of LSTMs of falling and rising sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.LSTM(3, 6, batch_first=True), nn.LSTM(6, 2, batch_first=True)])
        self.up, self.out = nn.LSTM(2, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, steps = x, x.shape[1]
        for lstm in self.down:
            y, (h, _) = lstm(y)
        return self.out(self.up(h.transpose(0, 1).expand(-1, steps, -1))[0])


class EveryCell(nn.Module):
    """A cell of each kind above the one before, LSTM cells first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstms, self.gru = nn.ModuleList([nn.LSTMCell(3, 4), nn.LSTMCell(4, 5)]), nn.GRUCell(5, 4)
        self.relu, self.tanh = nn.RNNCell(4, 4, nonlinearity="relu"), nn.RNNCell(4, 3)

    def forward(self, x: torch.Tensor, state: list[torch.Tensor]) -> Any:
        h, c, g, d, *rest = state
        h, c = self.lstms[0](x, (h, c))
        g, d = self.lstms[1](h, (g, d))
        rest = [self.gru(g, rest[0]), *rest[1:]]
        rest[1] = self.relu(rest[0], rest[1])
        rest[2] = self.tanh(rest[1], rest[2])
        return rest[2], [h, c, g, d, *rest]


class TwoPlainCells(nn.Module):
    """What the first tutorials have: plain cells, one of each activation, and what is read of both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.RNNCell(3, 4), nn.RNNCell(4, 4, nonlinearity="relu", bias=False)
        self.out = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, h_1: torch.Tensor, h_2: torch.Tensor) -> Any:
        h_1 = self.first(x, h_1)
        h_2 = self.second(h_1, h_2)
        return self.out(torch.cat([h_1, h_2], -1)), h_1, h_2
