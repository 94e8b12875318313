"""Networks that no bundle can be: each with the line that is at fault, and words of the reason."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Base(nn.Module):
    """What the networks have in common: a GRU, batch first, and parts that are put after it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)
        self.cell, self.norm = nn.GRUCell(3, 4), nn.InstanceNorm1d(4)
        self.conv, self.table = nn.Conv1d(4, 4, 3, stride=2), nn.Embedding(50, 4)


class MeanOverBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y - y.mean(0)


class SoftmaxOverBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return torch.softmax(y, dim=0)


class RolledBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y + torch.roll(y, 1, 0)


class FlippedBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y + y.flip(0)


class Differences(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y[:, 1:] - y[:, :-1]


class MiddleStep(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.head(y[:, 2])


class FirstRow(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y - y[0]


class Sorted(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y.sort(1)[0]


class Positions(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y + self.table(torch.arange(y.size(1)))


class InstanceNormed(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.norm(y.transpose(1, 2)).transpose(1, 2)


class StridedConvolution(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.conv(y.transpose(1, 2))


class AlwaysDropping(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return F.dropout(y, 0.5)


class Noisy(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y + torch.randn_like(y)


class Branching(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y if y.sum() > 0 else -y


class ViewedOver(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.head(y.reshape(y.size(1), y.size(0), -1))


class Looping(Base):
    def forward(self, x: torch.Tensor) -> Any:
        h, out = torch.zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1)


class PackingInside(Base):
    def forward(self, x: torch.Tensor) -> Any:
        lengths = torch.full((x.size(0),), x.size(1))
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]


class BatchNormedInTraining(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return F.batch_norm(y.transpose(1, 2), None, None, training=True)


class DividedByLength(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y / y.size(1)


class DividedByBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y / y.size(0)


class Failing(Base):
    def forward(self, x: torch.Tensor) -> Any:
        self.gru(x)
        raise ValueError("not today")


class CausalAttention(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return F.scaled_dot_product_attention(y, y, y, is_causal=True)


class CausalScores(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        ahead = torch.full((y.size(1), y.size(1)), float("-inf")).triu(1)
        return torch.softmax(y @ y.transpose(1, 2) + ahead, -1) @ y


class Einsum(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return torch.einsum("btf,bsf->bts", y, y)


class EinsumOfProducts(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return torch.einsum("btf,f->btf", y, self.head.weight[0])


class EinsumOverTime(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return torch.einsum("btf,fo->bo", y, self.head.weight.t())


class Masked(Base):
    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.mha(y, y, y, key_padding_mask=y[..., 0] > 0)[0]


class RowsByNumber(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y[torch.arange(y.size(0)), (x[..., 0] != 0).sum(1) - 1]


class StepsByNumber(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        last = (x[..., 0] != 0).sum(1) - 1
        return y.gather(1, last.view(-1, 1, 1).expand(-1, 1, y.size(2))).squeeze(1)


class TableOfPositions(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return y + self.table.weight[: y.size(1)]


class HeadsAsRows(Base):
    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        q = y.transpose(0, 1).reshape(y.size(1), y.size(0) * 2, 2).transpose(0, 1)
        return q @ q.transpose(1, 2)


class OfAFixedBatch(Base):
    def forward(self, x: torch.Tensor) -> Any:
        return self.gru(x, torch.zeros(1, 3, 4))[0]


REFUSED: dict[str, tuple[type[nn.Module], str, str]] = {
    "mean over the batch": (MeanOverBatch, "return y - y.mean(0)", "rows of one batch see each other"),
    "softmax over the batch": (SoftmaxOverBatch, "dim=0", "rows of one batch see each other"),
    "rolled batch": (RolledBatch, "torch.roll", "roll"),
    "flipped batch": (FlippedBatch, "y.flip(0)", "rows see each other"),
    "differences of neighbours": (
        Differences,
        "y[:, 1:]",
        "a part of the axis of time is taken (slice from 1 to the end)",
    ),
    "a middle step": (MiddleStep, "y[:, 2]", "step 2 is taken"),
    "one row of the batch": (FirstRow, "y[0]", "one row of the batch"),
    "sorted": (Sorted, "y.sort(1)", "sort: an operation that is not known"),
    "positions": (Positions, "torch.arange", "positions within a sequence"),
    "instance norm": (InstanceNormed, "self.norm", "every step sees the others"),
    "a strided convolution": (StridedConvolution, "self.conv", "another number of steps"),
    "dropout that is always on": (AlwaysDropping, "F.dropout", "training=self.training"),
    "noise": (Noisy, "torch.randn_like", "random numbers"),
    "a branch on data": (Branching, "y.sum() > 0", "torch.where"),
    "time viewed as batch": (ViewedOver, "y.reshape", "transpose the axes"),
    "a loop": (Looping, "self.cell", "pack_step"),
    "packed inside": (PackingInside, "self.gru(packed)", "without padding"),
    "batch norm in training": (BatchNormedInTraining, "F.batch_norm", "the batch's own mean"),
    "a division by the length": (DividedByLength, "y / y.size(1)", "depends on the batch or the length"),
    "a division by the batch": (DividedByBatch, "y / y.size(0)", "depends on the batch or the length"),
    "a module that fails": (Failing, "raise ValueError", "not today"),
    "causal attention": (CausalAttention, "is_causal=True", "attention that looks back at all steps"),
    "causal attention by hand": (CausalScores, ".triu(1)", "positions within a sequence"),
    "einsum of two values": (Einsum, "torch.einsum", "einsum other than of one value and one weight"),
    "einsum that is a product": (EinsumOfProducts, "torch.einsum", "'btf,f->btf', which is no linear layer"),
    "einsum over time": (EinsumOverTime, "torch.einsum", "'btf,fo->bo', which is no linear layer"),
    "rows by number": (RowsByNumber, "torch.arange(y.size(0))", "x[:, -1] for each row's last step"),
    "steps by number": (StepsByNumber, "y.gather(1", "x[:, -1] for each row's last step: rows are never padded"),
    "a table of positions": (TableOfPositions, "self.table.weight[", "positions within a sequence"),
    "heads as rows": (HeadsAsRows, "q = y.transpose", "torch.nn.MultiheadAttention has its heads"),
    "a fixed batch": (OfAFixedBatch, "torch.zeros(1, 3, 4)", "the batch (3 in the example) became a constant"),
    "a mask": (Masked, "key_padding_mask", "without a mask"),
}
