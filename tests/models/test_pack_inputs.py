"""Which of a module's inputs is the sequence and which the context: never by chance."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from elman_models import ExportError, PackedModule, pack


class Translation(nn.Module):
    """Two embeddings, an encoder and a decoder, of which the networks here make one."""

    def __init__(self) -> None:
        super().__init__()
        self.of_src, self.of_tgt = nn.Embedding(9, 4), nn.Embedding(7, 4)
        self.encoder, self.decoder = nn.GRU(4, 5, batch_first=True), nn.GRU(4, 5, batch_first=True)
        self.out = nn.Linear(5, 7)


class BegunByItsEnd(Translation):
    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(self.of_src(src))
        return self.out(self.decoder(self.of_tgt(tgt), state)[0])


class Attending(Translation):
    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        memory, state = self.encoder(self.of_src(src))
        y, _ = self.decoder(self.of_tgt(tgt), state)
        return self.out(y + torch.softmax(y @ memory.transpose(1, 2), -1) @ memory)


class Summed(Translation):
    """What is read is a bag of words."""

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        words = self.of_src(src).mean(1, keepdim=True)
        return self.out(self.decoder(self.of_tgt(tgt) + words)[0])


class TeacherForced(Translation):
    def forward(self, src: torch.Tensor, tgt: torch.Tensor, forced: float = 1.0) -> torch.Tensor:
        _, state = self.encoder(self.of_src(src))
        token, given = tgt[:, 0], []
        for t in range(tgt.size(1)):
            y, state = self.decoder(self.of_tgt(token).unsqueeze(1), state)
            given.append(self.out(y[:, 0]))
            token = tgt[:, t] if random.random() < forced else given[-1].argmax(1)
        return torch.stack(given, 1)


class OfNumbers(nn.Module):
    """A forecast from the past and what is known of the future, a number a step each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(1, 5, batch_first=True), nn.LSTM(1, 5, batch_first=True)

    def forward(self, past: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(past.unsqueeze(-1))
        return self.decoder(future.unsqueeze(-1), state)[0]


class Remembering(Translation):
    """A decoder that attends to a memory that it is given."""

    def forward(self, tgt: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        y, _ = self.decoder(self.of_tgt(tgt))
        return self.out(y + torch.softmax(y @ memory.transpose(1, 2), -1) @ memory)


class Static(nn.Module):
    """A series with what it is: numbers, and ids each of a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(4, 2), nn.Embedding(5, 2)])
        self.gru = nn.GRU(3 + 4, 4, batch_first=True)

    def forward(self, x: torch.Tensor, scale: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        known = torch.cat([table(kinds[:, i]) for i, table in enumerate(self.tables)], -1)
        given = torch.cat([x / scale[:, None], known.unsqueeze(1).expand(-1, x.size(1), -1)], -1)
        return self.gru(given)[0]


class Scaled(nn.Module):
    """A series over the mean of what was before it, however long that was."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        return self.gru(x / past.abs().mean(1)[:, None, None])[0]


class Begun(nn.Module):
    """A stack with the state that it begins with, as it is given or computed of what a series is."""

    def __init__(self, computes: bool) -> None:
        super().__init__()
        self.computes, self.gru, self.start = computes, nn.GRU(3, 4, batch_first=True), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, h_0: torch.Tensor) -> torch.Tensor:
        return self.gru(x, self.start(h_0) if self.computes else h_0)[0]


class Layers(nn.Module):
    """Three stacks one after another in a loop, and as many numbers of a speaker."""

    def __init__(self) -> None:
        super().__init__()
        self.stacks = nn.ModuleList([nn.LSTM(4, 4, batch_first=True) for _ in range(3)])
        self.of_speaker = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        for stack in self.stacks:
            x = stack(x)[0] + self.of_speaker(speaker)[:, None]
        return x


class Unbound(Translation):
    """A decoder that is a loop over what was embedded."""

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(self.of_src(src))
        given = []
        for word in self.of_tgt(tgt).unbind(1):
            y, state = self.decoder(word.unsqueeze(1), state)
            given.append(self.out(y[:, 0]))
        return torch.stack(given, 1)


def words(src: int, tgt: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(9, (3, src)), torch.randint(7, (3, tgt))


def packed(module: nn.Module, given: tuple[Any, ...], out: Path, *context: str) -> PackedModule:
    torch.manual_seed(1)
    return pack(module, given, out=out, name="m", context=context, quiet=True)


@pytest.mark.parametrize(
    ("make", "given", "line", "name", "size"),
    [
        (BegunByItsEnd, words(5, 4), "self.of_tgt(tgt)", "tgt", 4),
        (BegunByItsEnd, words(5, 5), "self.of_tgt(tgt)", "tgt", 5),
        (Attending, words(5, 4), "self.of_tgt(tgt)", "tgt", 4),
        (Summed, words(6, 4), "self.of_src(src)", "src", 6),
        (TeacherForced, (*words(5, 4), 1.0), "self.decoder(", "tgt", 4),
        (Unbound, words(5, 4), "self.decoder(", "tgt", 4),
        (OfNumbers, (torch.randn(3, 5), torch.randn(3, 4)), "future.unsqueeze(-1)", "future", 4),
        (Remembering, (torch.randint(7, (3, 5)), torch.randn(3, 6, 5)), "memory.transpose", "memory", 6),
        (Scaled, (torch.randn(3, 5, 3), torch.randn(3, 6)), "past.abs()", "past", 6),
    ],
)
def test_a_second_sequence_is_refused_by_name_and_line_with_what_to_do_instead_and_is_no_context_by_chance(
    make: type[nn.Module], given: tuple[Any, ...], line: str, name: str, size: int, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        packed(make(), given, tmp_path / "m")
    said = str(caught.value)
    assert "test_pack_inputs.py, line " in said
    assert line in said
    assert f"{name} has a length of its own ({size}" in said
    assert "as two models" in said
    assert f'context=("{name}",)' in said
    assert not (tmp_path / "m").exists()


def test_a_memory_that_is_named_is_a_session_s_context(tmp_path: Path) -> None:
    given = (torch.randint(7, (3, 5)), torch.randn(3, 6, 5))
    spec = packed(Remembering(), given, tmp_path / "m", "memory").spec
    assert [(one.name, one.features) for one in spec.context] == [("memory", (6, 5))]
    assert [one.name for one in spec.inputs] == ["tgt"]
    assert spec.kind == "streaming"


def test_what_is_clearly_no_sequence_is_context_without_being_named(tmp_path: Path) -> None:
    given = (torch.randn(3, 5, 3), torch.rand(3, 3), torch.randint(4, (3, 2)))
    spec = packed(Static(), given, tmp_path / "m").spec
    assert [(one.name, one.features) for one in spec.context] == [("scale", (3,)), ("kinds", (2,))]


def test_as_many_numbers_of_context_as_a_loop_has_layers_are_no_sequence(tmp_path: Path) -> None:
    spec = packed(Layers(), (torch.randn(2, 5, 4), torch.randn(2, 3)), tmp_path / "m").spec
    assert [(one.name, one.features) for one in spec.context] == [("speaker", (3,))]


def test_a_context_that_is_one_text_is_no_list_of_names(tmp_path: Path) -> None:
    given = (torch.randint(7, (3, 5)), torch.randn(3, 6, 5))
    with pytest.raises(ExportError, match=r"context: expected a sequence of names, \('memory',\) say, got one text"):
        pack(Remembering(), given, out=tmp_path / "m", name="m", context="memory", quiet=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("memories", "context: expected of tgt, memory, got memories"), ("tgt", "context: tgt is as long as")],
)
def test_a_context_that_is_none_is_refused_by_name(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        packed(Remembering(), (torch.randint(7, (3, 5)), torch.randn(3, 6, 5)), tmp_path / "m", "memory", name)


def test_numbers_whose_mean_is_taken_are_a_session_s_context_where_they_are_named(tmp_path: Path) -> None:
    spec = packed(Scaled(), (torch.randn(3, 5, 3), torch.randn(3, 6)), tmp_path / "m", "past").spec
    assert [(one.name, one.features) for one in spec.context] == [("past", (6,))]


def test_what_a_stack_begins_with_is_a_session_s_state_and_refused_as_its_context(tmp_path: Path) -> None:
    given = (torch.randn(3, 5, 3), torch.randn(1, 3, 4))
    with pytest.raises(ExportError, match=r"context: h_0 is what a stack begins with.* Instead: .* as initial_state"):
        packed(Begun(computes=False), given, tmp_path / "m", "h_0")
    made = packed(Begun(computes=False), given, tmp_path / "m")
    assert (made.assembled.state_inputs, made.spec.context) == ({"h_0": "gru.h"}, ())


def test_what_a_stack_s_beginning_is_computed_of_is_context_of_whole_sequences_and_sessions_have_a_remedy(
    tmp_path: Path,
) -> None:
    made = packed(Begun(computes=True), (torch.randn(3, 5, 3), torch.randn(1, 3, 4)), tmp_path / "m", "h_0")
    assert (made.spec.kind, [one.name for one in made.spec.context]) == ("whole", ["h_0"])
    assert "computed from an input. For sessions: let forward take the state itself" in str(made)
    assert "and open them with initial_state" in str(made)
