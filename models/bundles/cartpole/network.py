"""The network: a GRU that sees where cart and pole are, not how fast they move, with an actor and a critic on it."""

import torch
from torch import Tensor, nn

HIDDEN_SIZE = 64
DISCOUNT = 0.99
MAX_VALUE = 1 / (1 - DISCOUNT)


class Policy(nn.Module):
    """position [B, T, 2]: of the cart and angle of the pole -> action [B, T, 2]: log-probabilities; value [B, T, 1]."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(2, HIDDEN_SIZE)
        self.gru = nn.GRU(HIDDEN_SIZE, HIDDEN_SIZE, batch_first=True)
        self.actor = nn.Linear(HIDDEN_SIZE, 2)
        self.critic = nn.Linear(HIDDEN_SIZE, 1)
        self.speedometer = nn.Linear(HIDDEN_SIZE, 2)  # for training alone: makes the GRU find the velocities early
        self.register_buffer("scale", torch.tensor([1.0, 10.0]))

    def remember(self, position: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The GRU's output [B, T, HIDDEN_SIZE] and its next state."""
        output, state = self.gru(torch.tanh(self.front(position * self.scale)), state)
        return output, state

    def heads(self, output: Tensor) -> dict[str, Tensor]:
        """What actor and critic say; values are those of discounted returns, at most MAX_VALUE."""
        return {"action": torch.log_softmax(self.actor(output), -1), "value": MAX_VALUE * self.critic(output)}

    def forward(self, position: Tensor) -> dict[str, Tensor]:
        """What is served."""
        return self.heads(self.remember(position)[0])
