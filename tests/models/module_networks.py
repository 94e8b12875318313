"""Networks as people write them, small: each with an example of its inputs, and of what kind its graph is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from second_networks import (
    AnomalyDetector,
    ClippedSpeech,
    DeepConvLstm,
    DreamerGru,
    HeadedScan,
    HeadedSLstm,
    InputFeeding,
    LetterConvTagger,
    MaskedSpectrum,
    MixtureHead,
    PlayerOfFrames,
    ProjectedLanguageModel,
    SkillTracing,
    SqueezedHeart,
    StackedMinGru,
    Translator,
    WakeWord,
    Walker,
)
from third_networks import (
    EveryCell,
    KeywordNet,
    LoadForecaster,
    NarrowedSeries,
    NextItem,
    TwoPlainCells,
    WakeStream,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it


@dataclass(frozen=True)
class Case:
    """A module, what it is called with, and what is expected of its graph."""

    make: Callable[[], nn.Module]
    example: Callable[[], tuple[Any, ...]]
    kind: str = "streaming"
    outputs: tuple[str, ...] = ("output",)


def floats(*shape: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (torch.randn(*shape),)


def ids(size: int, *shape: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (torch.randint(size, shape),)


class TiedLanguageModel(nn.Module):
    """A word language model, seq-first, with tied weights and its hidden state handed in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.encoder = nn.Dropout(0.2), nn.Embedding(13, 6)
        self.rnn, self.decoder = nn.LSTM(6, 6, 2, dropout=0.2), nn.Linear(6, 13)
        self.decoder.weight = self.encoder.weight

    def forward(self, input: torch.Tensor, hidden: Any) -> Any:
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        decoded = self.decoder(self.drop(output)).view(-1, 13)
        return F.log_softmax(decoded, dim=1), hidden


class CharModel(nn.Module):
    def __init__(self, cell: type[nn.RNNBase], layers: int = 1) -> None:
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Embedding(11, 5), cell(5, 7, layers, batch_first=True), nn.Linear(7, 11)

    def forward(self, x: torch.Tensor, h: Any = None) -> Any:
        out, h = self.rnn(self.embed(x), h)
        return self.fc(out.reshape(-1, out.size(2))).view(x.size(0), x.size(1), -1), h


class ScaledForecaster(nn.Module):
    """A forecaster with the scaling of inputs and outputs in buffers, its last step's hidden state read."""

    def __init__(self, reads_hidden: bool) -> None:
        super().__init__()
        self.reads_hidden = reads_hidden
        self.lstm, self.linear = nn.LSTM(3, 8, 1, batch_first=True), nn.Linear(8, 2)
        self.register_buffer("mean", torch.randn(3))
        self.register_buffer("std", torch.rand(3) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h0 = torch.zeros(1, x.size(0), 8).to(x.device)
        out, (h_n, _) = self.lstm((x - self.mean) / self.std, (h0, h0))
        last = h_n.squeeze(0) if self.reads_hidden else out[:, -1, :]
        return self.linear(last) * 2.5 + 1.0


class DeepAR(nn.Module):
    """Embeddings and covariates side by side, the parameters of a distribution out."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.item, self.rnn = nn.Embedding(9, 4), cell(7, 6, 2)
        self.mu, self.sigma = nn.Linear(6, 1), nn.Sequential(nn.Linear(6, 1), nn.Softplus())

    def forward(self, item: torch.Tensor, cov: torch.Tensor) -> Any:
        out, _ = self.rnn(torch.cat([self.item(item), cov], dim=-1))
        return self.mu(out).squeeze(-1), self.sigma(out).squeeze(-1)


class Recommender(nn.Module):
    """A session recommender: the best k of all items."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.gru = nn.Embedding(17, 8), nn.GRU(8, 8, batch_first=True)

    def forward(self, items: torch.Tensor) -> Any:
        out, _ = self.gru(self.emb(items))
        return torch.topk(out @ self.emb.weight.t(), 3, dim=-1)


class ActorCritic(nn.Module):
    def __init__(self, shares: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Tanh())
        self.gru = nn.GRU(8, 8)
        self.critic_gru = self.gru if shares else nn.GRU(8, 5)
        self.actor, self.critic = nn.Linear(8, 4), nn.Linear(8 if shares else 5, 1)

    def forward(self, obs: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(obs)
        out, _ = self.gru(x)
        value, _ = self.critic_gru(x)
        return {"policy": F.softmax(self.actor(out), -1), "value": self.critic(value).squeeze(-1)}


class FrameNetwork(nn.Module):
    """A convolution over each frame, a recurrence over frames, and a duelling head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
        self.lstm, self.advantage, self.value = (
            nn.LSTM(3 * 3 * 3, 6, batch_first=True),
            nn.Linear(6, 4),
            nn.Linear(6, 1),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        batch, steps = frames.shape[:2]
        x = self.conv(frames.view(batch * steps, 1, 6, 6)).view(batch, steps, -1)
        out, _ = self.lstm(x)
        a = self.advantage(out)
        return self.value(out) + a - a.mean(-1, keepdim=True)


class VoiceActivity(nn.Module):
    """Causal convolutions, an LSTM, a sigmoid."""

    def __init__(self, chops: bool) -> None:
        super().__init__()
        self.chops = chops
        self.conv1 = nn.Conv1d(4, 6, 3, padding=2 if chops else 0)
        self.conv2 = nn.Conv1d(6, 6, 3, dilation=2, padding=4 if chops else 0, groups=2)
        self.lstm, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        if self.chops:
            x = F.relu(self.conv1(x)[:, :, :-2])
            x = F.relu(self.conv2(x)[..., : -self.conv2.padding[0]])
        else:
            x = F.relu(self.conv1(F.pad(x, (2, 0))))
            x = F.relu(self.conv2(F.pad(x, (4, 0))))
        return torch.sigmoid(self.out(self.lstm(x.permute(0, 2, 1))[0]))


class NoiseSuppression(nn.Module):
    """Three GRUs that read each other, as in RNNoise."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.vad_gru, self.noise_gru = (
            nn.Linear(6, 5),
            nn.GRU(5, 4, batch_first=True),
            nn.GRU(15, 5, batch_first=True),
        )
        self.denoise_gru, self.gains, self.vad = nn.GRU(15, 7, batch_first=True), nn.Linear(7, 6), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> Any:
        d = torch.tanh(self.dense(x))
        v, _ = self.vad_gru(d)
        n, _ = self.noise_gru(torch.cat([d, v, x], -1))
        g, _ = self.denoise_gru(torch.cat([v, n, x], 2))
        return torch.sigmoid(self.gains(g)), torch.sigmoid(self.vad(v))


class Residual(nn.Module):
    """Pre-norm residual recurrent blocks."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.inp = nn.Linear(5, 8)
        self.norms = nn.ModuleList([norm(8) for _ in range(2)])
        self.rnns = nn.ModuleList([nn.GRU(8, 8, batch_first=True), nn.LSTM(8, 8, batch_first=True)])
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.inp(x), 0.1)
        for norm, rnn in zip(self.norms, self.rnns, strict=True):
            x = x + rnn(norm(x))[0]
        return self.head(x)


class LearnedStart(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.h_0 = nn.Parameter(torch.randn(layers, 1, 6))
        self.gru, self.head = nn.GRU(4, 6, layers, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, h_n = self.gru(x, self.h_0.repeat(1, x.shape[0], 1))
        return self.head(out) + self.head(h_n[-1]).mean() * 0 if False else self.head(out)


class WeightNormed(nn.Module):
    def __init__(self, old: bool) -> None:
        super().__init__()
        norm: Any = nn.utils.parametrizations.weight_norm
        self.inp = norm(nn.Linear(4, 6)) if not old else nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6))
        self.conv, self.rnn = (
            norm(nn.Conv1d(6, 6, 2)),
            nn.RNN(6, 5, nonlinearity="relu" if old else "tanh", batch_first=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.pad(self.inp(x).transpose(1, 2), [1, 0])
        return self.rnn(F.elu(self.conv(y)).transpose(1, 2))[0]


class MixtureDensity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 8, 2), nn.Linear(8, 3 * 4 + 1)

    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.lstm(x)
        parts = self.out(y)
        pi, mu, sigma, end = torch.split(parts, [4, 4, 4, 1], dim=-1)
        return F.softmax(pi, 2), mu, torch.exp(sigma.clamp(-3, 3)), torch.sigmoid(end)


class KnowledgeTracing(nn.Module):
    """What was answered, and whether rightly, as one id; of the next question's skill the probability."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.RNN(10, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, skill: torch.Tensor, correct: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        x = F.one_hot(skill + 5 * correct, 10).float()
        p = torch.sigmoid(self.fc(self.rnn(x)[0]))
        return (p * F.one_hot(following, 5)).sum(-1)


class Speaker(nn.Module):
    """A speaker that stays the same for a session."""

    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.adds, self.speakers = adds, nn.Embedding(6, 4)
        self.gru = nn.GRU(4 if adds else 8, 5, batch_first=True)

    def forward(self, x: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        s = self.speakers(speaker).unsqueeze(1)
        y = x + s if self.adds else torch.cat([x, s.expand(-1, x.size(1), -1)], -1)
        return self.gru(y)[0]


class BatchNormed(nn.Module):
    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat, self.bn, self.lstm = flat, nn.BatchNorm1d(5), nn.LSTM(5, 6, proj_size=3, batch_first=True)
        self.bn.running_mean.uniform_(-1, 1)
        self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.flat:
            b, t, f = x.shape
            x = self.bn(x.contiguous().view(b * t, f)).view(b, t, f)
        else:
            x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        return self.lstm(x)[0]


class Tagger(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.emb, self.rnn, self.out = (
            nn.Embedding(12, 5),
            cell(5, 4, bidirectional=True, batch_first=True),
            nn.Linear(8, 3),
        )

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(self.emb(words))[0]).log_softmax(-1)


class CharTagger(nn.Module):
    """A tagger whose words are read letter by letter."""

    def __init__(self) -> None:
        super().__init__()
        self.chars, self.words = nn.Embedding(9, 3), nn.Embedding(12, 4)
        self.char_rnn = nn.LSTM(3, 2, batch_first=True, bidirectional=True)
        self.rnn, self.out = nn.LSTM(8, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, words: torch.Tensor, chars: torch.Tensor) -> torch.Tensor:
        b, t, letters = chars.shape
        _, (h, _) = self.char_rnn(self.chars(chars.view(b * t, letters)))
        c = torch.cat([h[0], h[1]], -1).view(b, t, -1)
        return self.out(self.rnn(torch.cat([self.words(words), c], -1))[0])


class AttentionPooling(nn.Module):
    def __init__(self, multiplies: bool) -> None:
        super().__init__()
        self.multiplies, self.lstm, self.score, self.out = (
            multiplies,
            nn.LSTM(4, 6, batch_first=True),
            nn.Linear(6, 1),
            nn.Linear(6, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.lstm(x)
        w = torch.softmax(self.score(torch.tanh(h)), dim=1)
        pooled = torch.bmm(w.transpose(1, 2), h).squeeze(1) if self.multiplies else (w * h).sum(1)
        return self.out(pooled)


class SelfAttention(nn.Module):
    def __init__(self, ours: bool) -> None:
        super().__init__()
        self.ours, self.gru, self.q, self.k = ours, nn.GRU(4, 6, batch_first=True), nn.Linear(6, 6), nn.Linear(6, 6)
        self.mha = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.gru(x)
        if not self.ours:
            return h + self.mha(h, h, h, need_weights=False)[0]
        scores = self.q(h) @ self.k(h).transpose(-2, -1) / 6**0.5
        return torch.softmax(scores, -1) @ h


class Pooled(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.gru, self.fc = how, nn.GRU(3, 5, 2, bidirectional=True), nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, h = self.gru(x)
        if self.how == "mean":
            return self.fc(out.mean(0))
        if self.how == "max":
            return self.fc(out.max(dim=0)[0])
        return self.fc(torch.cat((h[-2], h[-1]), dim=1))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.out = (
            nn.LSTM(3, 4, batch_first=True),
            nn.LSTM(4, 5, batch_first=True),
            nn.Linear(5, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.encoder(x)
        z = h[-1].unsqueeze(1).repeat(1, x.size(1), 1)
        return self.out(self.decoder(z)[0])


class EncoderDecoder(nn.Module):
    """What one stack ends with the other begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(3, 4, 2, batch_first=True), nn.LSTM(3, 4, 2, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(x)
        return self.out(self.decoder(x, state)[0])


class Conditioned(nn.Module):
    """A series whose static features say what its recurrence begins with."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.starts = nn.ModuleList([nn.Linear(5, 4) for _ in range(2 if cell is nn.LSTM else 1)])
        self.rnn = cell(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        begin = [torch.tanh(start(static)).unsqueeze(0) for start in self.starts]
        return self.rnn(x, tuple(begin) if len(begin) == 2 else begin[0])[0]


class DeepSpeech(nn.Module):
    """Same-padded convolutions over time and frequency, a batch norm, a bidirectional GRU, one more ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 2, (5, 3), stride=(2, 1), padding=(2, 1)), nn.BatchNorm2d(2)
        self.gru, self.look = (
            nn.GRU(8, 5, bidirectional=True, batch_first=True),
            nn.Conv1d(10, 10, 3, padding=1, groups=10),
        )
        self.out = nn.Linear(10, 4)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        x = F.hardtanh(self.bn(self.conv(spectrogram.unsqueeze(1).transpose(2, 3))), 0, 20)  # [B, C, freq, T]
        b, c, f, t = x.shape
        x = x.view(b, c * f, t).transpose(1, 2)
        y, _ = self.gru(x)
        y = self.look(y.transpose(1, 2)).transpose(1, 2)
        return F.log_softmax(self.out(y), -1)


class KeywordCrnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 3, (3, 3), padding="same"), nn.MaxPool2d((1, 2))
        self.gru, self.fc = nn.GRU(9, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(torch.relu(self.conv(x.unsqueeze(1))))  # [B, C, T, F / 2]
        y = y.permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.gru(y)[0][:, -1])


class TextReader(nn.Module):
    """A line of text as an image: convolutions that halve its height alone, both directions along its width."""

    def __init__(self, pools: bool) -> None:
        super().__init__()
        stride = 1 if pools else (2, 1)
        self.conv, self.bn = nn.Conv2d(1, 3, 3, stride=stride, padding=1), nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d((2, 1)) if pools else nn.Identity()
        self.rnn, self.out = nn.LSTM(3 * 4, 5, bidirectional=True), nn.Linear(10, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        y = self.pool(F.relu(self.bn(self.conv(image.unsqueeze(1)))))  # [B, C, height / 2, T]
        y = y.flatten(1, 2).permute(2, 0, 1)
        return F.log_softmax(self.out(self.rnn(y)[0]), 2)


class Activity(nn.Module):
    """Human activity by sensors: convolutions along time, two LSTM layers, the last step's classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.Conv1d(6, 6, 5, padding="same"))
        self.lstm, self.out = nn.LSTM(6, 5, 2, batch_first=True, dropout=0.5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
        return F.softmax(self.out(y[:, -1]), -1)


class Electrocardiogram(nn.Module):
    """Heartbeats: dilated convolutions with a short cut around them, both directions, the largest over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn1 = nn.Conv1d(2, 6, 7, padding=3, bias=False), nn.BatchNorm1d(6)
        self.second, self.bn2 = nn.Conv1d(6, 6, 3, padding=2, dilation=2, bias=False), nn.BatchNorm1d(6)
        self.lstm, self.drop, self.out = (
            nn.LSTM(6, 5, bidirectional=True, batch_first=True),
            nn.Dropout(),
            nn.Linear(10, 4),
        )

    def forward(self, leads: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.first(leads)))  # [B, C, T]
        y = F.relu(self.bn2(self.second(y)) + y)
        y, _ = self.lstm(y.permute(0, 2, 1))
        return torch.sigmoid(self.out(self.drop(y.max(dim=1).values)))


class Einsums(nn.Module):
    """Layers that are written as einsum: one of heads, one that joins them, one whose weight stands first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.heads, self.joined = nn.Parameter(torch.randn(4, 2, 3)), nn.Parameter(torch.randn(2, 3, 5))
        self.turned, self.score = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(6))

    def forward(self, x: torch.Tensor) -> Any:
        heads = torch.tanh(torch.einsum("btd,dhk->bthk", self.gru(x)[0], self.heads))
        y = torch.relu(torch.einsum("...hk,hko->...o", heads, self.joined))
        y = torch.einsum("of,btf->bot", self.turned, y)
        return y.transpose(1, 2), torch.einsum("bot, o -> bt", y, self.score)


class Unbatched(nn.Module):
    """The tutorial's part-of-speech tagger: one sentence at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.lstm, self.tag = nn.Embedding(7, 4), nn.LSTM(4, 5), nn.Linear(5, 3)

    def forward(self, sentence: torch.Tensor) -> torch.Tensor:
        embeds = self.emb(sentence)
        out, _ = self.lstm(embeds.view(sentence.size(0), 1, -1))
        return F.log_softmax(self.tag(out.view(sentence.size(0), -1)), dim=1)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.gru, self.scale = nn.Linear(4, 12), nn.GRU(6, 6), nn.Parameter(torch.rand(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(F.glu(self.inp(x)))
        a, b = y.chunk(2, -1)
        z = torch.stack([a, b], -2).flatten(-2) * self.scale
        z = torch.where(z > 0, z, 0.1 * z) + (1 - z) ** 2
        return F.normalize(z, dim=-1) + z.std(-1, keepdim=True)


SEQUENCES: dict[str, Case] = {
    "a bare lstm": Case(lambda: nn.LSTM(3, 4, 2, batch_first=True), floats(3, 5, 3)),
    "a bare rnn": Case(lambda: nn.RNN(3, 4, nonlinearity="relu"), floats(5, 3, 3)),
    "tied language model": Case(
        TiedLanguageModel, lambda: (torch.randint(13, (5, 3)), (torch.zeros(2, 3, 6), torch.zeros(2, 3, 6)))
    ),
    "tied language model, projected": Case(
        ProjectedLanguageModel, lambda: (torch.randint(11, (3, 5)), torch.zeros(1, 3, 8))
    ),
    "char lstm": Case(lambda: CharModel(nn.LSTM, 2), ids(11, 3, 5)),
    "char gru given its state": Case(
        lambda: CharModel(nn.GRU), lambda: (torch.randint(11, (3, 5)), torch.zeros(1, 3, 7))
    ),
    "scaled forecaster": Case(lambda: ScaledForecaster(False), floats(4, 6, 3)),
    "scaled forecaster by h_n": Case(lambda: ScaledForecaster(True), floats(4, 6, 3)),
    "deepar lstm": Case(
        lambda: DeepAR(nn.LSTM),
        lambda: (torch.randint(9, (6, 3)), torch.randn(6, 3, 3)),
        outputs=("output_0", "output_1"),
    ),
    "deepar gru": Case(
        lambda: DeepAR(nn.GRU),
        lambda: (torch.randint(9, (6, 3)), torch.randn(6, 3, 3)),
        outputs=("output_0", "output_1"),
    ),
    "forecaster with a learned start": Case(LoadForecaster, floats(6, 3, 4)),
    "recommender": Case(Recommender, ids(17, 1, 4), outputs=("output_0", "output_1")),
    "recommender of five": Case(NextItem, ids(17, 6, 3), outputs=("output_0", "output_1")),
    "actor critic": Case(lambda: ActorCritic(True), floats(5, 3, 6), outputs=("policy", "value")),
    "actor critic of two": Case(lambda: ActorCritic(False), floats(5, 3, 6), outputs=("policy", "value")),
    "frames": Case(FrameNetwork, floats(2, 4, 1, 6, 6)),
    "frames and what was done": Case(
        PlayerOfFrames,
        lambda: (torch.rand(11, 5, 3, 8, 8), torch.randint(3, (11, 5)), torch.randn(11, 5)),
        outputs=("q", "action"),
    ),
    "continuous control": Case(
        Walker,
        lambda: (torch.randn(5, 3, 5), torch.randint(3, (5, 3))),
        outputs=("mean", "std", "gaits", "value"),
    ),
    "voice activity, padded": Case(lambda: VoiceActivity(False), floats(3, 7, 4)),
    "voice activity, chopped": Case(lambda: VoiceActivity(True), floats(3, 7, 4)),
    "wake word as it is said": Case(WakeStream, floats(3, 7, 6)),
    "noise suppression": Case(NoiseSuppression, floats(3, 5, 6), outputs=("output_0", "output_1")),
    "noise suppression by a mask": Case(MaskedSpectrum, floats(5, 3, 7), outputs=("output_0", "output_1")),
    "residual layer norm": Case(lambda: Residual(nn.LayerNorm), floats(3, 5, 5)),
    "residual rms norm": Case(lambda: Residual(nn.RMSNorm), floats(3, 5, 5)),
    "learned start": Case(lambda: LearnedStart(1), floats(3, 5, 4)),
    "learned start of two layers": Case(lambda: LearnedStart(2), floats(3, 5, 4)),
    "weight norm": Case(lambda: WeightNormed(False), floats(3, 5, 4)),
    "spectral norm": Case(lambda: WeightNormed(True), floats(3, 5, 4)),
    "mixture density": Case(MixtureDensity, floats(5, 3, 3), outputs=tuple(f"output_{i}" for i in range(4))),
    "mixture density of points": Case(MixtureHead, floats(3, 5, 2), outputs=("log_pi", "mu", "sigma")),
    "knowledge tracing": Case(
        KnowledgeTracing, lambda: (torch.randint(5, (3, 6)), torch.randint(2, (3, 6)), torch.randint(5, (3, 6)))
    ),
    "knowledge tracing of questions": Case(
        SkillTracing,
        lambda: (torch.randint(6, (5, 3)), torch.randint(2, (5, 3)), torch.randint(6, (5, 3))),
        outputs=("output_0", "output_1"),
    ),
    "speaker added": Case(lambda: Speaker(True), lambda: (torch.randn(3, 5, 4), torch.randint(6, (3,)))),
    "speaker beside": Case(lambda: Speaker(False), lambda: (torch.randn(3, 5, 4), torch.randint(6, (3,)))),
    "batch norm, flat": Case(lambda: BatchNormed(True), floats(3, 6, 5)),
    "batch norm, transposed": Case(lambda: BatchNormed(False), floats(3, 6, 5)),
    "gates and parts": Case(Gated, floats(5, 3, 4)),
    "einsums": Case(Einsums, floats(7, 11, 3), outputs=("output_0", "output_1")),
    "letters and words": Case(CharTagger, lambda: (torch.randint(12, (3, 5)), torch.randint(9, (3, 5, 4)))),
    "letters convolved": Case(LetterConvTagger, lambda: (torch.randint(8, (5, 3, 6)), torch.randint(10, (5, 3)))),
    "one sentence": Case(Unbatched, ids(7, 6)),
    "bilstm tagger": Case(lambda: Tagger(nn.LSTM), ids(12, 3, 5), "whole"),
    "bigru tagger": Case(lambda: Tagger(nn.GRU), ids(12, 3, 5), "whole"),
    "attention pooling": Case(lambda: AttentionPooling(False), floats(3, 6, 4), "whole"),
    "attention pooling by bmm": Case(lambda: AttentionPooling(True), floats(3, 6, 4), "whole"),
    "self-attention": Case(lambda: SelfAttention(True), floats(3, 6, 4), "whole"),
    "multi-head attention": Case(lambda: SelfAttention(False), floats(3, 6, 4), "whole"),
    "mean over time": Case(lambda: Pooled("mean"), floats(6, 3, 3), "whole"),
    "max over time": Case(lambda: Pooled("max"), floats(6, 3, 3), "whole"),
    "both directions' ends": Case(lambda: Pooled("ends"), floats(6, 3, 3), "whole"),
    "autoencoder": Case(Autoencoder, floats(3, 6, 3), "whole"),
    "autoencoder that narrows": Case(NarrowedSeries, floats(3, 6, 3), "whole"),
    "autoencoder with a bottleneck": Case(
        AnomalyDetector, floats(6, 3, 4), "whole", outputs=("rebuilt", "code", "error")
    ),
    "encoder and decoder": Case(EncoderDecoder, floats(3, 6, 3), "whole"),
    "encoder and decoder of words": Case(
        Translator, lambda: (torch.randint(9, (13, 8)), torch.randint(7, (13, 8))), "whole"
    ),
    "gru conditioned": Case(lambda: Conditioned(nn.GRU), lambda: (torch.randn(3, 6, 3), torch.randn(3, 5)), "whole"),
    "lstm conditioned": Case(lambda: Conditioned(nn.LSTM), lambda: (torch.randn(3, 6, 3), torch.randn(3, 5)), "whole"),
    "deep speech": Case(DeepSpeech, floats(3, 6, 7), "whole"),
    "deep speech, clipped": Case(ClippedSpeech, floats(3, 5, 13), "whole"),
    "keyword crnn": Case(KeywordCrnn, floats(3, 7, 6), "whole"),
    "keyword by groups": Case(KeywordNet, floats(11, 13, 5), "whole"),
    "wake word": Case(WakeWord, floats(7, 6, 17), "whole"),
    "text reader": Case(lambda: TextReader(False), floats(7, 8, 9), "whole"),
    "text reader that pools": Case(lambda: TextReader(True), floats(7, 8, 9), "whole"),
    "human activity": Case(Activity, floats(3, 9, 4), "whole"),
    "human activity by sensor": Case(DeepConvLstm, floats(3, 9, 4), "whole", outputs=("output_0", "output_1")),
    "electrocardiogram": Case(Electrocardiogram, floats(3, 2, 9), "whole"),
    "electrocardiogram, beat by beat": Case(SqueezedHeart, floats(3, 9, 3), "whole", outputs=("beats", "rhythm")),
}


@dataclass(frozen=True)
class StepCase:
    """A module of one time step."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    state: Callable[[], Any]
    states: tuple[str, ...]
    outputs: tuple[str, ...] = ("output",)
    context: tuple[str, ...] = ()


class SineCells(nn.Module):
    """Two LSTM cells and a linear layer, as the time sequence example has them; its state nested."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm1, self.lstm2, self.linear = nn.LSTMCell(1, 5), nn.LSTMCell(5, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, state: Any) -> Any:
        (h1, c1), (h2, c2) = state
        h1, c1 = self.lstm1(x, (h1, c1))
        h2, c2 = self.lstm2(h1, (h2, c2))
        return self.linear(h2), ((h1, c1), (h2, c2))


class ElmanCell(nn.Module):
    """A cell of linear layers, its state apart."""

    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.h2o = nn.Linear(3 + 4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> Any:
        hidden = torch.tanh(self.i2h(torch.cat((x, hidden), 1)))
        return F.log_softmax(self.h2o(hidden), dim=1), hidden


class MinGru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.z, self.candidate = nn.Linear(3, 5), nn.Linear(3, 5)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        z = torch.sigmoid(self.z(x))
        return torch.lerp(h, self.candidate(x), z) if False else (1 - z) * h + z * self.candidate(x)


class SLstm(nn.Module):
    """An LSTM with exponential gates, normalised and stabilised; its state a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(3 + 4, 16)

    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> Any:
        i, f, z, o = self.gates(torch.cat([x, state["h"]], -1)).chunk(4, -1)
        m = torch.maximum(f + state["m"], i)
        i, f = torch.exp(i - m), torch.exp(f + state["m"] - m)
        c = f * state["c"] + i * torch.tanh(z)
        n = f * state["n"] + i
        h = torch.sigmoid(o) * c / n.clamp(min=1e-6)
        return h, {"h": h, "c": c, "n": n, "m": m}


class NormedGru(nn.Module):
    """A GRU with LayerNorm inside."""

    def __init__(self) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(3, 15), nn.Linear(5, 15, bias=False)
        self.ln_x, self.ln_h = nn.LayerNorm(15), nn.LayerNorm(15)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        rx, zx, nx = self.ln_x(self.x2h(x)).chunk(3, 1)
        rh, zh, nh = self.ln_h(self.h2h(h)).chunk(3, 1)
        z = torch.sigmoid(zx + zh)
        n = torch.tanh(nx + torch.sigmoid(rx + rh) * nh)
        h = z * h + (1 - z) * n
        return h.sum(-1, keepdim=True), h


class SelectiveScan(nn.Module):
    """A Mamba-like cell: a convolution's cache shifted, a state [B, channels, n]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.proj, self.dt = nn.Parameter(torch.randn(3, 4)), nn.Linear(3, 4), nn.Linear(3, 3)
        self.a_log, self.d = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, cache: torch.Tensor, ssm: torch.Tensor) -> Any:
        cache = torch.cat([cache[:, :, 1:], x.unsqueeze(-1)], -1)
        x = F.silu((cache * self.conv).sum(-1))
        b, c = self.proj(x).split(2, -1)
        dt = F.softplus(self.dt(x))
        ssm = ssm * torch.exp(dt.unsqueeze(-1) * -torch.exp(self.a_log)) + dt.unsqueeze(-1) * b.unsqueeze(
            1
        ) * x.unsqueeze(-1)
        return (ssm @ c.unsqueeze(-1)).squeeze(-1) + self.d * x, cache, ssm


class StreamingVad(nn.Module):
    """Frames through a convolution, one step of an LSTM, a sigmoid."""

    def __init__(self, changes_state: bool) -> None:
        super().__init__()
        self.changes_state = changes_state
        self.conv, self.lstm, self.out = nn.Conv1d(1, 3, 3, stride=2), nn.LSTM(9, 4, 2), nn.Linear(4, 1)

    def forward(self, frame: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        x = torch.relu(self.conv(frame.unsqueeze(1))).flatten(1)
        y, (h, c) = self.lstm(x.unsqueeze(0), (h, c))
        if self.changes_state:
            c = c.clamp(-0.2, 0.2)
        return torch.sigmoid(self.out(y.squeeze(0))), h, c


class AttentionDecoder(nn.Module):
    """A decoder with attention over four vectors of memory, which stay the same for a session."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.attn, self.gru, self.out = nn.Embedding(7, 4), nn.Linear(5, 3), nn.GRUCell(7, 5), nn.Linear(5, 7)

    def forward(self, token: torch.Tensor, memory: torch.Tensor, h: torch.Tensor) -> Any:
        w = torch.softmax(torch.bmm(memory, self.attn(h).unsqueeze(2)).squeeze(2), -1)
        context = torch.bmm(w.unsqueeze(1), memory).squeeze(1)
        h = self.gru(torch.cat([self.emb(token), context], -1), h)
        return {"logits": self.out(h), "best": self.out(h).argmax(-1)}, h


def zeros(*shapes: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: tuple(torch.zeros(shape) for shape in shapes) if len(shapes) > 1 else torch.zeros(shapes[0])


STEPS: dict[str, StepCase] = {
    "cells in a nested state": StepCase(
        SineCells,
        floats(3, 1),
        lambda: ((torch.zeros(3, 5), torch.zeros(3, 5)), (torch.zeros(3, 4), torch.zeros(3, 4))),
        ("state_0_0", "state_0_1", "state_1_0", "state_1_1"),
    ),
    "a cell of linear layers": StepCase(ElmanCell, floats(1, 3), zeros((1, 4)), ("hidden",)),
    "minimal gru": StepCase(MinGru, floats(3, 3), zeros((3, 5)), ("h",)),
    "minimal gru of two layers": StepCase(
        StackedMinGru, floats(3, 4), lambda: [torch.zeros(3, 6), torch.zeros(3, 6)], ("hiddens_0", "hiddens_1")
    ),
    "a gru cell alone": StepCase(lambda: nn.GRUCell(3, 4), floats(3, 3), zeros((3, 4)), ("hx",)),
    "an lstm cell alone": StepCase(lambda: nn.LSTMCell(3, 4), floats(3, 3), zeros((3, 4), (3, 4)), ("hx_0", "hx_1")),
    "slstm": StepCase(SLstm, floats(3, 3), lambda: {k: torch.zeros(3, 4) for k in "hcnm"}, ("h", "c", "n", "m")),
    "slstm of two heads": StepCase(
        HeadedSLstm, floats(3, 5), zeros(*[(3, 2, 3)] * 4), tuple(f"state_{i}" for i in range(4))
    ),
    "gru with layer norm inside": StepCase(NormedGru, floats(3, 3), zeros((3, 5)), ("h",)),
    "gru of a world model": StepCase(
        DreamerGru, lambda: (torch.randn(3, 4), torch.randn(3, 2)), zeros((3, 6)), ("deter",), ("mean", "std")
    ),
    "selective scan": StepCase(SelectiveScan, floats(3, 3), zeros((3, 3, 4), (3, 3, 2)), ("cache", "ssm")),
    "selective scan by heads": StepCase(HeadedScan, floats(3, 5), zeros((3, 2, 3, 4)), ("ssm_state",)),
    "voice activity by frames": StepCase(
        lambda: StreamingVad(False), floats(3, 8), zeros((2, 3, 4), (2, 3, 4)), ("h", "c")
    ),
    "its state clamped": StepCase(lambda: StreamingVad(True), floats(3, 8), zeros((2, 3, 4), (2, 3, 4)), ("h", "c")),
    "decoder with attention": StepCase(
        AttentionDecoder,
        lambda: (torch.randint(7, (2,)), torch.randn(2, 4, 3)),
        zeros((2, 5)),
        ("h",),
        ("logits", "best"),
        context=("memory",),
    ),
    "decoder with its context fed back": StepCase(
        InputFeeding,
        lambda: (torch.randn(2, 2), torch.randn(2, 4, 3)),
        zeros((2, 4), (2, 4), (2, 3)),
        ("state_0", "state_1", "state_2"),
        ("output_0", "output_1", "output_2"),
    ),
    "decoder with its context fed back, of one memory": StepCase(
        InputFeeding,
        lambda: (torch.randn(2, 2), torch.randn(2, 4, 3)),
        zeros((2, 4), (2, 4), (2, 3)),
        ("state_0", "state_1", "state_2"),
        ("output_0", "output_1", "output_2"),
        context=("memory",),
    ),
    "a cell of every kind": StepCase(
        EveryCell,
        floats(3, 3),
        lambda: [torch.zeros(3, size) for size in (4, 4, 5, 5, 4, 4, 3)],
        tuple(f"state_{i}" for i in range(7)),
    ),
    "two plain cells": StepCase(TwoPlainCells, floats(3, 3), zeros((3, 4), (3, 4)), ("h_1", "h_2")),
}
