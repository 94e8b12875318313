"""A dozen networks as people write them, each beside the same as a graph by hand; their tensors have the same names."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from elman_models import GraphSpec

Tensors = dict[str, torch.Tensor]
Fields = dict[str, Any]
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def recurrence(op: str, name: str, input: str, hidden: int, layers: int = 1, **parameters: Any) -> Fields:
    """A node of a stack that is the module's attribute of its name; states `name.h` and `name.c`."""
    suffixes = [f"_l{layer}" for layer in range(layers)]
    if parameters.get("bidirectional"):
        suffixes = [f"{suffix}{direction}" for suffix in suffixes for direction in ("", "_reverse")]
    names = [*_NAMES, "weight_hr"] if parameters.get("proj_size") else _NAMES
    weights = {f"{one}{suffix}": f"{name}.{one}{suffix}" for suffix in suffixes for one in names}
    states = (
        {} if parameters.get("bidirectional") else {own: f"{name}.{own}" for own in ("hc" if op == "lstm" else "h")}
    )
    own = {"hidden_size": hidden, "num_layers": layers} | parameters
    return {"name": name, "op": op, "inputs": [input], "parameters": own, "weights": weights, "states": states}


def states(
    op: str, name: str, hidden: int, layers: int = 1, proj: int = 0, initial: Mapping[str, str] = {}
) -> list[Fields]:
    """The states of `recurrence`."""
    sizes = {"h": proj or hidden} | ({"c": hidden} if op == "lstm" else {})
    return [
        {"name": f"{name}.{own}", "features": [size], "layers": layers, "initial": initial.get(own)}
        for own, size in sizes.items()
    ]


def node(op: str, name: str, *inputs: str, weights: str = "", **parameters: Any) -> Fields:
    """A node; `weights`: their names, each the attribute's of the node's name."""
    own = {one: f"{name}.{one}" for one in weights.split()}
    return {"name": name, "op": op, "inputs": list(inputs), "parameters": parameters, "weights": own}


def floats(name: str, *features: int) -> Fields:
    return {"name": name, "features": list(features)}


def ids(name: str, num_embeddings: int) -> Fields:
    return {"name": name, "dtype": "int64", "num_embeddings": num_embeddings}


def graph(nodes: list[Fields], outputs: Mapping[str, str], **fields: Any) -> GraphSpec:
    found = [{"name": name, "value": value} for name, value in outputs.items()]
    return GraphSpec.model_validate({"name": "m", "nodes": nodes, "outputs": found} | fields)


class Network(nn.Module):
    """A module beside its graph: `forward` takes one whole sequence, [T, *features] of each input."""

    spec: GraphSpec

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        raise NotImplementedError


class ActorCritic(Network):
    """A GRU, LayerNorm, two heads."""

    spec = graph(
        [
            recurrence("gru", "rnn", "x", 6, 2),
            node("layer_norm", "norm", "rnn", weights="weight bias", normalized_shape=[6]),
            node("linear", "actor", "norm", weights="weight bias", out_features=3),
            node("softmax", "policy", "actor"),
            node("linear", "critic", "norm", weights="weight bias", out_features=1),
            node("reshape", "value", "critic", features=[]),
        ],
        {"policy": "policy", "value": "value"},
        inputs=[floats("x", 4)],
        states=states("gru", "rnn", 6, 2),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.GRU(4, 6, 2), nn.LayerNorm(6)
        self.actor, self.critic = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        y = self.norm(self.rnn(given["x"])[0])
        return {"policy": self.actor(y).softmax(-1), "value": self.critic(y)[:, 0]}


class VoiceActivity(Network):
    """A dilated causal convolution, batch norm, LSTM, sigmoid."""

    spec = graph(
        [
            node("causal_conv1d", "conv", "x", weights="weight bias", out_channels=6, kernel_size=3, dilation=2)
            | {"states": {"cache": "conv.cache"}},
            node("batch_norm", "norm", "conv", weights="running_mean running_var weight bias"),
            node("leaky_relu", "relu", "norm", negative_slope=0.2),
            recurrence("lstm", "rnn", "relu", 5),
            node("linear", "head", "rnn", weights="weight bias", out_features=1),
            node("sigmoid", "speech", "head"),
        ],
        {"speech": "speech"},
        inputs=[floats("x", 4)],
        states=[{"name": "conv.cache", "features": [4, 4]}, *states("lstm", "rnn", 5)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 3, dilation=2), nn.BatchNorm1d(6)
        self.rnn, self.head = nn.LSTM(6, 5), nn.Linear(5, 1)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        padded = nn.functional.pad(given["x"].T, (4, 0))[None]
        y = nn.functional.leaky_relu(self.norm(self.conv(padded)), 0.2)[0].T
        return {"speech": self.head(self.rnn(y)[0]).sigmoid()}


class TwoSizes(Network):
    """Two LSTMs of different sizes, the second projected; a skip over both."""

    spec = graph(
        [
            recurrence("lstm", "one", "x", 7, 2),
            recurrence("lstm", "two", "one", 5, 1, proj_size=4),
            node("add", "sum", "two", "x"),
            node("linear", "head", "sum", weights="weight", out_features=3),
        ],
        {"output": "head"},
        inputs=[floats("x", 4)],
        states=[*states("lstm", "one", 7, 2), *states("lstm", "two", 5, proj=4)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.LSTM(4, 7, 2), nn.LSTM(7, 5, proj_size=4), nn.Linear(4, 3, bias=False)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        x = given["x"]
        with warnings.catch_warnings():  # oneDNN, which torch tries first, has no projection
            warnings.filterwarnings("ignore", "LSTM with projections")
            y = self.two(self.one(x)[0])[0]
        return {"output": self.head(y + x)}


class Forecaster(Network):
    """Like DeepAR: ids and covariates, a series' id as context, scaled; mean and deviation."""

    spec = graph(
        [
            node("embedding", "day", "weekday", weights="weight", num_embeddings=7, embedding_dim=2),
            node("embedding", "series", "item", weights="weight", num_embeddings=9, embedding_dim=3),
            node("each_step", "series_at_each", "series"),
            node("affine", "scaled", "x", shape=[2]) | {"weights": {"mean": "mean", "weight": "scale"}},
            node("concat", "features", "scaled", "day", "series_at_each"),
            recurrence("lstm", "rnn", "features", 6, 2),
            node("linear", "heads", "rnn", weights="weight bias", out_features=4),
            node("split", "parts", "heads", sizes=[2, 2]),
            node("softplus", "sigma", "parts:1"),
        ],
        {"mu": "parts", "sigma": "sigma"},
        inputs=[floats("x", 2), ids("weekday", 7)],
        context=[ids("item", 9)],
        states=states("lstm", "rnn", 6, 2),
    )

    def __init__(self) -> None:
        super().__init__()
        self.day, self.series = nn.Embedding(7, 2), nn.Embedding(9, 3)
        self.rnn, self.heads = nn.LSTM(7, 6, 2), nn.Linear(6, 4)
        self.register_buffer("mean", torch.randn(2))
        self.register_buffer("scale", torch.rand(2))

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        x, day = (given["x"] - self.mean) * self.scale, self.day(given["weekday"])
        series = self.series(context["item"]).expand(len(x), -1)
        mu, sigma = self.heads(self.rnn(torch.cat([x, day, series], -1))[0]).chunk(2, -1)
        return {"mu": mu, "sigma": nn.functional.softplus(sigma)}


class MinGru(Network):
    """minGRU, two layers, as a step graph: the gates look at the input alone, so they run for all steps together."""

    spec = graph(
        [
            node("linear", "gate", "x", weights="weight bias", out_features=5),
            node("sigmoid", "z", "gate"),
            node("linear", "candidate", "x", weights="weight bias", out_features=5),
            node("scale", "keep", "z", scale=-1.0, shift=1.0),
            node("mul", "old", "keep", "h"),
            node("mul", "new", "z", "candidate"),
            node("add", "h_next", "old", "new"),
            node("linear", "head", "h_next", weights="weight bias", out_features=2),
        ],
        {"output": "head", "hidden": "h_next"},
        kind="step",
        inputs=[floats("x", 4)],
        states=[floats("h", 5) | {"next": "h_next"}],
    )

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.candidate, self.head = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        z, candidate = self.gate(given["x"]).sigmoid(), self.candidate(given["x"])
        h, hidden = torch.zeros(5), []
        for step in range(len(z)):
            h = (1 - z[step]) * h + z[step] * candidate[step]
            hidden.append(h)
        return {"output": self.head(torch.stack(hidden)), "hidden": torch.stack(hidden)}


class LearnedStart(Network):
    """A GRU with a learned h_0, of which a copy is taken for each sequence."""

    spec = graph(
        [recurrence("gru", "rnn", "x", 5, 2)],
        {"output": "rnn"},
        inputs=[floats("x", 4)],
        states=states("gru", "rnn", 5, 2, initial={"h": "h_0"}),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.h_0 = nn.GRU(4, 5, 2), nn.Parameter(torch.randn(2, 5))

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        return {"output": self.rnn(given["x"], self.h_0)[0]}


class Cells(Network):
    """Two cells in a loop, with LayerNorm between and a learned start of one."""

    spec = graph(
        [
            node("lstm_cell", "one", "x", "h", "c", weights="weight_ih weight_hh bias_ih bias_hh", hidden_size=5),
            node("layer_norm", "norm", "one", weights="weight bias", normalized_shape=[5]),
            node("gru_cell", "two", "norm", "g", weights="weight_ih weight_hh", hidden_size=3, bias=False),
        ],
        {"output": "two"},
        kind="step",
        inputs=[floats("x", 4)],
        states=[
            floats("h", 5) | {"next": "one"},
            floats("c", 5) | {"next": "one:c"},
            floats("g", 3) | {"next": "two", "initial": "start"},
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.LSTMCell(4, 5), nn.LayerNorm(5), nn.GRUCell(5, 3, bias=False)
        self.start = nn.Parameter(torch.randn(3))

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        h, c, g, outputs = torch.zeros(5), torch.zeros(5), self.start, []
        for x in given["x"]:
            h, c = self.one(x, (h, c))
            g = self.two(self.norm(h), g)
            outputs.append(g)
        return {"output": torch.stack(outputs)}


class FedBack(Network):
    """The output goes in again beside the next input, through a stack of torch's: a plan inside the loop."""

    spec = graph(
        [
            node("linear", "front", "x", weights="weight bias", out_features=4),
            node("concat", "both", "front", "y"),
            recurrence("lstm", "rnn", "both", 5, 2),
            node("linear", "head", "rnn", weights="weight bias", out_features=3),
            node("tanh", "y_next", "head"),
        ],
        {"output": "y_next"},
        kind="step",
        inputs=[floats("x", 2)],
        states=[*states("lstm", "rnn", 5, 2), floats("y", 3) | {"next": "y_next"}],
    )

    def __init__(self) -> None:
        super().__init__()
        self.front, self.rnn, self.head = nn.Linear(2, 4), nn.LSTM(7, 5, 2), nn.Linear(5, 3)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        y, hx, outputs = torch.zeros(3), (torch.zeros(2, 5), torch.zeros(2, 5)), []
        for x in self.front(given["x"]):
            output, hx = self.rnn(torch.cat([x, y])[None], hx)
            y = self.head(output[0]).tanh()
            outputs.append(y)
        return {"output": torch.stack(outputs)}


class Differences(Network):
    """Looks at the difference to the input before, which is a state; the stack behind it runs on all steps together."""

    spec = graph(
        [
            node("sub", "change", "x", "before"),
            node("concat", "both", "x", "change"),
            recurrence("rnn_tanh", "rnn", "both", 5),
            node("mul", "output", "rnn", "rnn"),
        ],
        {"output": "output", "change": "change", "before": "before"},
        kind="step",
        inputs=[floats("x", 3)],
        states=[
            floats("before", 3) | {"next": "x"},
            *states("rnn_tanh", "rnn", 5),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(6, 5)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        x = given["x"]
        before = torch.cat([torch.zeros(1, 3), x[:-1]])
        return {
            "output": self.rnn(torch.cat([x, x - before], -1))[0] ** 2,
            "change": x - before,
            "before": before,
        }


class Decoder(Network):
    """A decoder with attention over a memory that is the session's context; its last token is state."""

    spec = graph(
        [
            node("embedding", "embed", "token", weights="weight", num_embeddings=11, embedding_dim=4),
            node("each_step", "keys", "memory"),
            node("linear", "query", "h", weights="weight bias", out_features=3),
            node("matmul", "scores", "keys", "query"),
            node("softmax", "weights", "scores"),
            node("matmul", "read", "weights", "keys"),
            node("concat", "both", "embed", "read"),
            node("gru_cell", "cell", "both", "h", weights="weight_ih weight_hh bias_ih bias_hh", hidden_size=6),
            node("linear", "head", "cell", weights="weight bias", out_features=11),
            node("mul", "scaled", "head", "gain"),
            node("argmax", "best", "scaled"),
            node("top_k", "top", "scaled", k=2),
        ],
        {"logits": "scaled", "best": "best", "second": "top:indices"},
        kind="step",
        inputs=[floats("gain", 1)],
        context=[floats("memory", 5, 3)],
        states=[
            floats("h", 6) | {"next": "cell"},
            {"name": "token", "dtype": "int64", "num_embeddings": 11, "next": "best"},
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query = nn.Embedding(11, 4), nn.Linear(6, 3)
        self.cell, self.head = nn.GRUCell(7, 6), nn.Linear(6, 11)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        memory, h, token, logits = context["memory"], torch.zeros(6), torch.tensor(0), []
        for gain in given["gain"]:
            weights = (memory @ self.query(h)).softmax(-1)
            h = self.cell(torch.cat([self.embed(token), weights @ memory]), h)
            logits.append(self.head(h) * gain)
            token = logits[-1].argmax(-1)
        all_logits = torch.stack(logits)
        return {"logits": all_logits, "best": all_logits.argmax(-1), "second": all_logits.topk(2).indices}


class NoiseSuppression(Network):
    """Three GRUs that read each other's outputs and the input; gains in [0, 1] times the input."""

    spec = graph(
        [
            node("linear", "front", "x", weights="weight bias", out_features=4),
            node("tanh", "dense", "front"),
            recurrence("gru", "vad", "dense", 3),
            node("concat", "noise_in", "dense", "vad", "x"),
            recurrence("gru", "noise", "noise_in", 4),
            node("concat", "gain_in", "vad", "noise", "x"),
            recurrence("gru", "denoise", "gain_in", 5),
            node("linear", "gains", "denoise", weights="weight bias", out_features=6),
            node("sigmoid", "gain", "gains"),
            node("mul", "clean", "gain", "x"),
        ],
        {"clean": "clean", "vad": "vad"},
        inputs=[floats("x", 6)],
        states=[*states("gru", "vad", 3), *states("gru", "noise", 4), *states("gru", "denoise", 5)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.front, self.vad, self.noise = nn.Linear(6, 4), nn.GRU(4, 3), nn.GRU(13, 4)
        self.denoise, self.gains = nn.GRU(13, 5), nn.Linear(5, 6)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        x = given["x"]
        dense = self.front(x).tanh()
        vad = self.vad(dense)[0]
        noise = self.noise(torch.cat([dense, vad, x], -1))[0]
        gains = self.gains(self.denoise(torch.cat([vad, noise, x], -1))[0]).sigmoid()
        return {"clean": gains * x, "vad": vad}


class KeywordSpotter(Network):
    """Two-dimensional convolutions over one frame's features, pooled; then a GRU and log-probabilities."""

    spec = graph(
        [
            node("conv2d", "conv", "x", weights="weight bias", out_channels=3, kernel_size=[2, 3], padding=[0, 1]),
            node("relu", "relu", "conv"),
            node("max_pool2d", "pool", "relu", kernel_size=[1, 2]),
            node("reshape", "flat", "pool", features=[12]),
            recurrence("gru", "rnn", "flat", 5),
            node("linear", "head", "rnn", weights="weight bias", out_features=4),
            node("log_softmax", "keywords", "head"),
        ],
        {"keywords": "keywords"},
        inputs=[floats("x", 1, 3, 4)],
        states=states("gru", "rnn", 5),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn, self.head = nn.Conv2d(1, 3, (2, 3), padding=(0, 1)), nn.GRU(12, 5), nn.Linear(5, 4)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        y = nn.functional.max_pool2d(self.conv(given["x"]).relu(), (1, 2)).flatten(1)
        return {"keywords": self.head(self.rnn(y)[0]).log_softmax(-1)}


class Tagger(Network):
    """A bidirectional LSTM with a head: whole sequences only."""

    spec = graph(
        [
            node("embedding", "embed", "word", weights="weight", num_embeddings=9, embedding_dim=4),
            recurrence("lstm", "rnn", "embed", 5, 2, bidirectional=True),
            node("linear", "head", "rnn", weights="weight bias", out_features=3),
        ],
        {"tags": "head"},
        kind="whole",
        inputs=[ids("word", 9)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(10, 3)
        self.rnn = nn.LSTM(4, 5, 2, bidirectional=True)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        return {"tags": self.head(self.rnn(self.embed(given["word"]))[0])}


class AttentionPooling(Network):
    """Weights over time, a sum, and the stack's last states beside it; a class for the whole sequence."""

    spec = graph(
        [
            recurrence("gru", "rnn", "x", 5, 2) | {"states": {}},
            node("linear", "score", "rnn", weights="weight bias", out_features=1),
            node("time_softmax", "weights", "score"),
            node("mul", "weighted", "weights", "rnn"),
            node("time_sum", "pooled", "weighted"),
            node("select", "top", "rnn:h_n", axis=0, index=-1),
            node("concat", "both", "pooled", "top"),
            node("linear", "head", "both", weights="weight bias", out_features=3),
        ],
        {"classes": "head", "weights": "weights"},
        kind="whole",
        inputs=[floats("x", 4)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.score, self.head = nn.GRU(4, 5, 2), nn.Linear(5, 1), nn.Linear(10, 3)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        y, h_n = self.rnn(given["x"])
        weights = self.score(y).softmax(0)
        return {"classes": self.head(torch.cat([(weights * y).sum(0), h_n[-1]])), "weights": weights}


class Autoencoder(Network):
    """An encoder whose end begins the decoder, which is given it at each step, too."""

    spec = graph(
        [
            recurrence("lstm", "encoder", "x", 5) | {"states": {}},
            node("select", "code", "encoder:h_n", axis=0, index=0),
            node("each_step", "repeated", "code"),
            recurrence("lstm", "decoder", "repeated", 5)
            | {"states": {}, "inputs": ["repeated", "encoder:h_n", "encoder:c_n"]},
            node("linear", "head", "decoder", weights="weight bias", out_features=3),
            node("time_flip", "output", "head"),
        ],
        {"output": "output", "code": "code"},
        kind="whole",
        inputs=[floats("x", 3)],
    )

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = nn.LSTM(3, 5), nn.LSTM(5, 5), nn.Linear(5, 3)

    def forward(self, given: Tensors, context: Tensors) -> Tensors:
        _, (h_n, c_n) = self.encoder(given["x"])
        y = self.decoder(h_n[0].expand(len(given["x"]), -1), (h_n, c_n))[0]
        return {"output": self.head(y).flip(0), "code": h_n[0]}


STREAMED: tuple[type[Network], ...] = (
    ActorCritic,
    VoiceActivity,
    TwoSizes,
    Forecaster,
    MinGru,
    LearnedStart,
    Cells,
    FedBack,
    Differences,
    Decoder,
    NoiseSuppression,
    KeywordSpotter,
)
WHOLE: tuple[type[Network], ...] = (Tagger, AttentionPooling, Autoencoder)
