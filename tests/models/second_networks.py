"""Of families that module_networks.py has one network of, another: other cells, layouts, outputs and ways to write."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it


class ProjectedLanguageModel(nn.Module):
    """A GRU wider than its words, projected back and multiplied by the embedding's own weight."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.gru = nn.Embedding(11, 4, padding_idx=0), nn.GRU(4, 8, batch_first=True)
        self.proj, self.bias = nn.Linear(8, 4, bias=False), nn.Parameter(torch.randn(11))

    def forward(self, input_ids: torch.Tensor, past: torch.Tensor | None = None) -> Any:
        hidden, past = self.gru(self.wte(input_ids) * 4**0.5, past)
        return F.linear(self.proj(hidden), self.wte.weight, self.bias), past


class MixtureHead(nn.Module):
    """A mixture of Gaussians in as many dimensions as go in, [B, T, components, dimensions], in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 6, batch_first=True)
        self.log_pi, self.mu, self.sigma = nn.Linear(6, 3), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        h, _ = self.gru(z)
        batch, steps, _ = h.size()
        mu = self.mu(h).view(batch, steps, 3, 2)
        sigma = F.elu(self.sigma(h)).view(batch, steps, 3, 2) + 1 + 1e-4
        return {"log_pi": F.log_softmax(self.log_pi(h), dim=-1), "mu": mu, "sigma": sigma}


class SkillTracing(nn.Module):
    """Questions and answers in one embedding of both, and what is known by then beside the next question's own."""

    def __init__(self) -> None:
        super().__init__()
        self.interactions, self.questions = nn.Embedding(2 * 6, 5), nn.Embedding(6, 3)
        self.lstm = nn.LSTM(5, 8, 2)
        self.mlp = nn.Sequential(nn.Linear(8 + 3, 6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 1))

    def forward(self, q: torch.Tensor, r: torch.Tensor, q_next: torch.Tensor) -> Any:
        known, _ = self.lstm(self.interactions(q + 6 * r))
        logit = self.mlp(torch.cat((known, self.questions(q_next)), dim=-1)).squeeze(-1)
        return logit.sigmoid(), logit > 0


class StackedMinGru(nn.Module):
    """Two layers of minGRU, positive hidden states, one projection for gate and candidate, a short cut around each."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(4) for _ in range(2)])
        self.to_both = nn.ModuleList([nn.Linear(4, 2 * 6, bias=False) for _ in range(2)])
        self.back = nn.ModuleList([nn.Linear(6, 4, bias=False) for _ in range(2)])

    def forward(self, x: torch.Tensor, hiddens: list[torch.Tensor]) -> Any:
        new = []
        for norm, both, back, h in zip(self.norms, self.to_both, self.back, hiddens, strict=True):
            hidden, gate = both(norm(x)).chunk(2, dim=-1)
            h = torch.lerp(h, torch.where(hidden >= 0, hidden + 0.5, hidden.sigmoid()), gate.sigmoid())
            new.append(h)
            x = x + back(h)
        return x, new


class HeadedSLstm(nn.Module):
    """An sLSTM of two heads whose recurrence stays within a head; its forget gate a log-sigmoid, its output normed."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.r = nn.Linear(5, 4 * 6), nn.Parameter(torch.randn(2, 3, 4 * 3) * 0.3)
        self.norm, self.down = nn.GroupNorm(2, 6), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> Any:
        c, n, h, m = state  # [B, heads, 3] each
        raw = self.w(x).view(-1, 2, 12) + torch.matmul(h.unsqueeze(2), self.r).squeeze(2)
        z, i, f, o = torch.split(raw, 3, dim=-1)
        log_f = F.logsigmoid(f)
        m_new = torch.max(log_f + m, i)
        i, f = torch.exp(i - m_new), torch.exp(log_f + m - m_new)
        c, n = f * c + i * z.tanh(), f * n + i
        h = o.sigmoid() * (c / (n + 1e-6))
        return x + self.down(self.norm(h.flatten(1))), (c, n, h, m_new)


class DreamerGru(nn.Module):
    """A world model's: input and state through one linear layer and one norm, its update biased to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.layer, self.norm = nn.Linear(4 + 2, 5), nn.Linear(5 + 6, 3 * 6, bias=False), nn.LayerNorm(18)
        self.prior = nn.Linear(6, 2 * 3)

    def forward(self, stoch: torch.Tensor, action: torch.Tensor, deter: torch.Tensor) -> Any:
        x = F.silu(self.inp(torch.cat([stoch, action], dim=-1)))
        reset, cand, update = torch.chunk(self.norm(self.layer(torch.cat([x, deter], dim=-1))), 3, dim=-1)
        cand = torch.tanh(torch.sigmoid(reset) * cand)
        update = torch.sigmoid(update - 1)
        deter = update * cand + (1 - update) * deter
        mean, std = self.prior(deter).chunk(2, -1)
        return {"mean": mean, "std": F.softplus(std) + 0.1}, deter


class HeadedScan(nn.Module):
    """Mamba-2's step: one decay for a head, a state [B, heads, 3, n], all from one projection, gated and normed."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(5, 6 + 6 + 4 + 4 + 2, bias=False), nn.Linear(6, 5, bias=False)
        self.dt_bias, self.a_log, self.d = (nn.Parameter(torch.rand(2)) for _ in range(3))
        self.norm = nn.RMSNorm(6)

    def forward(self, u: torch.Tensor, ssm_state: torch.Tensor) -> Any:
        z, x, b, c, dt = torch.split(self.in_proj(u), [6, 6, 4, 4, 2], dim=-1)
        x, dt = F.silu(x).view(-1, 2, 3), F.softplus(dt + self.dt_bias)  # [B, heads, 3], [B, heads]
        decay = torch.exp(dt * -self.a_log.exp())[:, :, None, None]
        ssm_state = ssm_state * decay + (dt[..., None] * x)[..., None] * b[:, None, None, :]
        y = (ssm_state * c[:, None, None]).sum(-1) + self.d[:, None] * x
        return self.out_proj(self.norm(y.reshape(-1, 6) * F.silu(z))), ssm_state


class AnomalyDetector(nn.Module):
    """Seq-first GRUs with a bottleneck between them; what it makes of the series, its code, and how far off it is."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.to_code = nn.GRU(4, 6, num_layers=2), nn.Linear(6, 2)
        self.from_code, self.dec, self.head = nn.Linear(2, 6), nn.GRU(6, 6), nn.Linear(6, 4)

    def forward(self, series: torch.Tensor) -> dict[str, torch.Tensor]:
        code = torch.tanh(self.to_code(self.enc(series)[1][-1]))
        repeated = F.relu(self.from_code(code)).expand(series.shape[0], -1, -1)
        rebuilt = self.head(self.dec(repeated)[0])
        return {"rebuilt": rebuilt, "code": code, "error": ((rebuilt - series) ** 2).mean(dim=(0, 2))}


class Translator(nn.Module):
    """Both directions, a bridge from their ends, a decoder told the words so far and, place by place, what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.src, self.tgt = nn.Embedding(9, 4), nn.Embedding(7, 5)
        self.encoder, self.bridge = nn.GRU(4, 3, bidirectional=True), nn.Linear(6, 2 * 5)
        self.decoder, self.generator = nn.GRU(5 + 6, 5, num_layers=2), nn.Linear(5, 7)

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        read, ends = self.encoder(self.src(src))
        first, second = torch.tanh(self.bridge(torch.cat([ends[0], ends[1]], dim=1))).split(5, dim=1)
        out, _ = self.decoder(torch.cat([self.tgt(tgt), read], dim=2), torch.stack([first, second]))
        return self.generator(out).log_softmax(dim=-1)


class InputFeeding(nn.Module):
    """A decoder with additive attention whose last context goes back in: LSTM cell, tuple state; its memory is part of
    each step's input, or a session's context."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.query, self.keys = nn.LSTMCell(2 + 3, 4), nn.Linear(4, 5, bias=False), nn.Linear(3, 5)
        self.v, self.mel, self.stop = nn.Linear(5, 1, bias=False), nn.Linear(4 + 3, 2), nn.Linear(4 + 3, 1)

    def forward(self, frame: torch.Tensor, memory: torch.Tensor, state: tuple[torch.Tensor, ...]) -> Any:
        h, c, context = state
        h, c = self.cell(torch.cat([frame, context], dim=1), (h, c))
        energies = self.v(torch.tanh(self.query(h).unsqueeze(1) + self.keys(memory))).squeeze(-1)
        weights = F.softmax(energies, dim=1)
        context = (weights.unsqueeze(-1) * memory).sum(dim=1)
        both = torch.cat([h, context], dim=1)
        return (self.mel(both), torch.sigmoid(self.stop(both)).squeeze(1), weights), (h, c, context)


class ClippedSpeech(nn.Module):
    """The first Deep Speech: dense layers with a clipped ReLU over a window of frames, the two directions summed."""

    def __init__(self) -> None:
        super().__init__()
        self.window, self.dense = nn.Conv1d(5, 6, kernel_size=5, padding=2), nn.Linear(6, 6)
        self.rnn, self.last = nn.RNN(6, 4, nonlinearity="relu", bidirectional=True), nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, mfcc: torch.Tensor) -> torch.Tensor:
        x = torch.clamp(self.window(mfcc), min=0, max=20).permute(2, 0, 1)  # [B, F, T] to [T, B, C]
        x, _ = self.rnn(F.relu(self.dense(x)).clamp(max=20.0))
        t, n = x.size(0), x.size(1)
        x = self.last(x.view(t, n, 2, -1).sum(2))
        return self.norm(x.view(t * n, -1)).view(t, n, -1).softmax(-1)


class WakeWord(nn.Module):
    """One word or not: convolutions of each band by itself and of all at a point, weights over time, one number."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.point = nn.Conv1d(6, 6, 3, padding=1, groups=6, bias=False), nn.Conv1d(6, 5, 1)
        self.bn, self.rnn = nn.BatchNorm1d(5), nn.LSTM(5, 4, bidirectional=True, batch_first=True)
        self.attend, self.out = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1)), nn.Linear(8, 1)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn(self.point(self.depth(log_mel))))  # [B, bands, T]
        x, _ = self.rnn(x.mT)
        alpha = F.softmax(self.attend(x), dim=1)
        return torch.sigmoid(self.out(torch.matmul(alpha.mT, x)))[:, 0, 0]


class DeepConvLstm(nn.Module):
    """As its paper has it: convolutions of each sensor along time alone, and then all sensors' channels together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 2, (5, 1), padding=(2, 0)), nn.Conv2d(2, 3, (3, 1), padding=(1, 0))
        self.lstm1, self.lstm2 = nn.LSTM(3 * 4, 6), nn.LSTM(6, 5)
        self.fc = nn.Linear(5, 4)

    def forward(self, window: torch.Tensor) -> Any:
        x = torch.relu(self.conv2(torch.relu(self.conv1(window[:, None]))))  # [B, C, T, sensors]
        x = x.permute(2, 0, 1, 3)
        x = x.reshape(x.shape[0], x.shape[1], -1)
        x, _ = self.lstm2(self.lstm1(x)[0])
        logits = self.fc(x)[-1]
        return logits, logits.argmax(1)


class SqueezedHeart(nn.Module):
    """Leads last; a block that weighs its channels by their means, a GRU; each beat's class and the rhythm's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 8, 5, padding="same"), nn.BatchNorm1d(8)
        self.squeeze = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())
        self.gru, self.beats, self.rhythm = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 3), nn.Linear(10, 2)

    def forward(self, ecg: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.gelu(self.norm(self.conv(ecg.permute(0, 2, 1))))
        x = x * self.squeeze(x.mean(dim=-1)).unsqueeze(-1)
        y, _ = self.gru(x.transpose(2, 1))
        pooled = torch.cat([y.mean(1), y.amax(1)], dim=1)
        return {"beats": self.beats(y), "rhythm": self.rhythm(pooled)}


class PlayerOfFrames(nn.Module):
    """Seq-first frames of three channels, what was done and gained last beside them, and values of each action."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, stride=2)
        self.fc, self.core = nn.Linear(4 * 2 * 2, 6), nn.GRU(6 + 3 + 1, 7)
        self.q = nn.Linear(7, 3)

    def forward(self, frame: torch.Tensor, last_action: torch.Tensor, reward: torch.Tensor) -> dict[str, torch.Tensor]:
        steps, batch = frame.shape[0], frame.shape[1]
        x = torch.flatten(frame, 0, 1) / 255.0
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.fc(F.relu(self.conv2(x)).flatten(start_dim=1))).view(steps, batch, -1)
        done = F.one_hot(last_action, 3).float()
        q = self.q(self.core(torch.cat([x, done, reward.clamp(-1, 1).unsqueeze(-1)], dim=-1))[0])
        return {"q": q, "action": q.argmax(dim=-1)}


class Walker(nn.Module):
    """Continuous control: a mean with a deviation that was learned by itself, the gait as a distribution of torch's,
    and what the critic says of the gait that is given by its number."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.mean, self.gait = nn.GRU(5, 6), nn.Linear(6, 2), nn.Linear(6, 3)
        self.log_std, self.critic = nn.Parameter(torch.full((2,), -0.5)), nn.Linear(6, 3)

    def forward(self, observed: torch.Tensor, gait: torch.Tensor) -> dict[str, torch.Tensor]:
        y, _ = self.gru(observed)
        mean = torch.tanh(self.mean(y))
        gaits = torch.distributions.Categorical(logits=self.gait(y))
        value = self.critic(y).gather(-1, gait.unsqueeze(-1)).squeeze(-1)
        return {"mean": mean, "std": self.log_std.exp().expand_as(mean), "gaits": gaits.probs, "value": value}


class MaskedSpectrum(nn.Module):
    """A mask over the magnitudes of a spectrum, from their logarithms, normed, by two LSTMs of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.lstm1, self.lstm2 = nn.LayerNorm(7), nn.LSTM(7, 6), nn.LSTM(6, 8)
        self.drop, self.fc1, self.fc2 = nn.Dropout(0.25), nn.Linear(8, 6), nn.Linear(6, 7)
        self.act = nn.PReLU()

    def forward(self, spectrum: torch.Tensor) -> Any:
        magnitude = torch.sqrt(spectrum.pow(2) + 1e-7)
        x, _ = self.lstm1(self.norm(torch.log10(magnitude)))
        x, _ = self.lstm2(self.drop(x))
        mask = torch.sigmoid(self.fc2(self.act(self.fc1(x))))
        return mask * spectrum, mask


class LetterConvTagger(nn.Module):
    """Words in lower case by themselves, and the strongest of each pattern of their letters."""

    def __init__(self) -> None:
        super().__init__()
        self.char_embed, self.word_embed = nn.Embedding(8, 4, padding_idx=0), nn.Embedding(10, 5)
        self.char_conv = nn.Conv1d(4, 6, kernel_size=3, padding=1)
        self.gru, self.tags = nn.GRU(5 + 6, 7, num_layers=2), nn.Linear(7, 4)

    def forward(self, chars: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        t, b, letters = chars.size()
        c = self.char_embed(chars.reshape(-1, letters)).permute(0, 2, 1)
        c = torch.tanh(self.char_conv(c)).max(dim=-1)[0].reshape(t, b, 6)
        out, _ = self.gru(torch.cat([self.word_embed(words), c], dim=2))
        return F.log_softmax(self.tags(out), dim=-1)
