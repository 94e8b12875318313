"""What the recurrences of packed modules end with, which look ahead: given, kept, described, exported, handed over."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from graph_server import by_name, named
from refusals import refusal_of
from served import Served, serving
from torch import nn
from toys import Toy, assert_near

import elman
from elman import StateFrom
from elman.v1 import inference_pb2
from elman_models import (
    Cell,
    GraphSpec,
    ModelSpec,
    declare_hand_off,
    pack,
    read_any_spec,
    read_weights,
    write_bundle,
)
from elman_models import StateFrom as Declared

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(61)
HIDDEN = 8
Ends = dict[str, torch.Tensor]
Infer = inference_pb2.InferRequest


class Tagger(nn.Module):
    """Two bidirectional stacks and one that is not, each on the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.LSTM(3, HIDDEN, 2, bidirectional=True, batch_first=True)
        self.mid = nn.GRU(2 * HIDDEN, HIDDEN, bidirectional=True, batch_first=True)
        self.top = nn.LSTM(2 * HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, T, 4] and what there is after the first stack, [B, T, 2 x HIDDEN]."""
        low, _ = self.low(x)
        return self.head(self.top(self.mid(low)[0])[0]), low

    def ends(self, x: torch.Tensor, begin: Ends | None = None) -> tuple[torch.Tensor, Ends]:
        """[T, 4] and each state [layers, HIDDEN] after [T, 3] alone."""
        given = {name: state[:, None] for name, state in (begin or {}).items()}
        low, (h, c) = self.low(x[None], (given["low.h"], given["low.c"]) if given else None)
        mid, g = self.mid(low, given.get("mid.h"))
        top, (i, d) = self.top(mid, (given["top.h"], given["top.c"]) if given else None)
        found = {"low.h": h, "low.c": c, "mid.h": g, "top.h": i, "top.c": d}
        return self.head(top)[0], {name: state[:, 0] for name, state in found.items()}


class Reader(nn.Module):
    """A bidirectional GRU that begins with what was learned and gives what it ends with, too."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, HIDDEN, 2, bidirectional=True)
        self.begin = nn.Parameter(torch.randn(4, 1, HIDDEN))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, B, 2 x HIDDEN] and h_n."""
        output, h = self.rnn(x, self.begin.expand(4, x.shape[1], HIDDEN))
        return output, h

    def ends(self, x: torch.Tensor, begin: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, 2 x HIDDEN] and [4, HIDDEN] after [T, 3] alone."""
        output, h = self.rnn(x, self.begin[:, 0] if begin is None else begin)
        return output, h


class Copier(nn.Module):
    """An encoder and a decoder in one, which begins with what the encoder ends with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(3, HIDDEN, batch_first=True)
        self.decoder = nn.GRU(3, HIDDEN, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, HIDDEN]."""
        output: torch.Tensor = self.decoder(x, self.encoder(x)[1])[0]
        return output


torch.manual_seed(8)
TAGGER, READER, COPIER = (module.eval().requires_grad_(False) for module in (Tagger(), Reader(), Copier()))
WIDE = Toy(ModelSpec(name="wide", cell=Cell.LSTM, input_size=3, hidden_size=2 * HIDDEN, num_layers=2))
NARROW = Toy(ModelSpec(name="narrow", cell=Cell.GRU, input_size=3, hidden_size=HIDDEN))
BRIDGE = nn.Linear(2 * HIDDEN, HIDDEN).requires_grad_(False)
JOINED = {"h": StateFrom("low.h", directions="concatenate"), "c": StateFrom("low.c", directions="concatenate")}


def write(folder: Path) -> Path:
    for name, module in (("tagger", TAGGER), ("reader", READER), ("copier", COPIER)):
        pack(module, (torch.randn(4, 5, 3),), out=folder / name, name=name, quiet=True)
    for toy in (WIDE, NARROW):
        write_bundle(folder / toy.spec.name, toy.spec, toy.state_dict())
    last = Declared("rnn.h", directions="concatenate", layers=[1], linear=BRIDGE, activation="tanh")
    declare_hand_off(folder / "narrow", {"h": last})
    write_older(folder)
    return folder


def write_older(folder: Path) -> None:
    """The same reader as it was packed before its recurrence had a state: what it begins with is a constant."""
    spec = read_any_spec(folder / "reader")
    assert isinstance(spec, GraphSpec)
    fields = spec.model_dump(mode="json", exclude_none=True) | {"name": "older", "states": []}
    (node,) = fields["nodes"]
    (begin,) = (state.initial for state in spec.states)
    constant = {"features": [4, HIDDEN], "dtype": "float32"}
    given = {"name": "begin", "op": "constant", "parameters": constant, "weights": {"value": begin}}
    fields["nodes"] = [given, node | {"inputs": ["x", "begin"], "states": {}}]
    write_bundle(folder / "older", GraphSpec(**fields), read_weights(folder / "reader", spec))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(write(tmp_path_factory.mktemp("ends")), max_sessions=8, max_kept_states=8) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def x(steps: int) -> Any:
    return RNG.standard_normal((steps, 3)).astype(np.float32)


def tagged(sequence: Any, begin: Ends | None = None) -> tuple[Any, dict[str, Any]]:
    output, ends = TAGGER.ends(torch.from_numpy(sequence), begin)
    return output.numpy(), {name: state.numpy() for name, state in ends.items()}


def wide_after(sequence: Any, y: Any) -> Any:
    """What the decoder gives for y after the tagger's first stack has read a sequence."""
    _, ends = TAGGER.ends(torch.from_numpy(sequence))
    h, c = (torch.cat([ends[name][0::2], ends[name][1::2]], -1) for name in ("low.h", "low.c"))
    return WIDE.run(y, (h, c))[0]


async def test_a_model_that_looks_ahead_tells_its_states_by_name(client: elman.AsyncClient) -> None:
    found = {}
    for name in ("tagger", "reader", "copier", "older"):
        info = (await client.model(name)).info
        assert info.needs_whole_sequences
        found[name] = {one.name: (one.layers, *one.features) for one in info.states}
    assert found == {
        "tagger": {"low.h": (4, 8), "low.c": (4, 8), "mid.h": (2, 8), "top.h": (1, 8), "top.c": (1, 8)},
        "reader": {"rnn.h": (4, 8)},
        "copier": {"encoder.h": (1, 8), "decoder.h": (1, 8)},
        "older": {},
    }


async def test_ragged_sequences_give_the_states_that_each_alone_ends_with(client: elman.AsyncClient) -> None:
    sequences = [x(steps) for steps in (3, 7, 1, 7, 5)]
    model = await client.model("tagger")
    outputs, state = await model.infer(sequences)
    for row, sequence in enumerate(sequences):
        expected, ends = tagged(sequence)
        assert_near(outputs[row]["output_0"], expected)
        for name, end in ends.items():
            assert_near(state[name][:, row], end)
    again, after = await model.infer(sequences, initial_state=state)  # each goes on from there, in both directions
    for row, sequence in enumerate(sequences):
        begin = {name: torch.from_numpy(state[name][:, row]) for name in state}
        expected, ends = tagged(sequence, begin)
        assert_near(again[row]["output_0"], expected)
        for name, end in ends.items():
            assert_near(after[name][:, row], end)


async def test_what_was_learned_begins_and_what_is_given_begins_instead(client: elman.AsyncClient) -> None:
    model, sequence, begin = await client.model("reader"), x(6), RNG.standard_normal((4, 8)).astype(np.float32)
    for h_0, reference in ((None, None), (begin[:, None], torch.from_numpy(begin))):
        given, state = await model.infer(sequence, h_0=h_0)
        output, h = READER.ends(torch.from_numpy(sequence), reference)
        assert_near(given["output_0"], output.numpy())
        assert_near(given["output_1"], h.numpy())  # which the module gives itself, too
        assert_near(state.h_n[:, 0], h.numpy())


async def test_a_kept_state_is_handed_to_decoders_read_and_exported(client: elman.AsyncClient, served: Served) -> None:
    sequences, y = [x(4), x(9)], x(5)
    encoder, decoder = await client.model("tagger"), await client.model("wide")
    outputs, pool = await encoder.infer(sequences, keep_state_as=["a", "b"])
    for row, sequence in enumerate(sequences):
        assert_near(outputs[row]["output_0"], tagged(sequence)[0])
    async with decoder.sessions(2, from_=pool, map=JOINED) as decoders:
        for told, sequence in zip(await decoders.step([y] * 2), sequences, strict=True):
            assert_near(told, wide_after(sequence, y))
    async with encoder.session("b", mode="resume") as kept:
        state = await kept.state()
        assert kept.position == 9
        for name, end in tagged(sequences[1])[1].items():
            assert_near(state[name][:, 0], end)
        async with (
            encoder.import_session(await kept.export()) as copy,
            decoder.session(from_=copy, map=JOINED) as one,
            decoder.session(from_=state, map=JOINED) as two,
        ):
            for session in (one, two):
                assert_near(await session.step(y), wide_after(sequences[1], y))
            await copy.end()
        with pytest.raises(elman.UnsupportedError, match="whole sequences"):
            await kept.step(y)
    await pool.end()
    await served.assert_all_released()


async def test_a_bundle_says_how_it_begins_from_a_packed_encoder(client: elman.AsyncClient) -> None:
    source, y = x(6), x(4)
    encoder, decoder = await client.model("reader"), await client.model("narrow")
    _, kept = await encoder.infer(source, keep_state_as="read")
    _, h = READER.ends(torch.from_numpy(source))
    bridged = torch.tanh(BRIDGE(torch.cat([h[2], h[3]])))[None]
    async with decoder.session(from_=kept) as session:
        assert_near(await session.step(y), NARROW.run(y, bridged)[0])
    summed = {"h": StateFrom("rnn.h", directions="sum", layers=[0])}
    async with decoder.session(from_=kept, map=summed) as session:
        assert_near(await session.step(y), NARROW.run(y, (h[0] + h[1])[None])[0])
    await kept.end()


async def test_what_a_model_begins_with_itself_nobody_gives_and_it_is_kept_all_the_same(
    client: elman.AsyncClient, served: Served
) -> None:
    source, y = x(5), x(3)
    encoder, decoder = await client.model("copier"), await client.model("narrow")
    _, h = COPIER.encoder(torch.from_numpy(source))
    output, end = COPIER.decoder(torch.from_numpy(source), h)
    given, state = await encoder.infer(source)
    assert_near(given, output.numpy())
    assert_near(state["encoder.h"][:, 0], h.numpy())
    assert_near(state["decoder.h"][:, 0], end.numpy())
    with pytest.raises(
        elman.InvalidInputError, match=r"'decoder\.h' of this model begins with what it computes, got one"
    ):
        await encoder.infer(source, initial_state=state)
    _, kept = await encoder.infer(source, keep_state_as="copied")
    async with decoder.session(from_=kept, map={"h": StateFrom("decoder.h")}) as session:
        assert_near(await session.step(y), NARROW.run(y, end)[0])
    await kept.end()


async def test_a_bundle_without_the_states_is_served_as_ever(client: elman.AsyncClient, served: Served) -> None:
    source, older = x(6), await client.model("older")
    given, state = await older.infer(source)
    assert len(state) == 0
    assert_near(given["output_0"], READER.ends(torch.from_numpy(source))[0].numpy())
    with pytest.raises(
        elman.InvalidInputError, match=r"no state that could be kept; if it was packed .* pack it again"
    ):
        await older.infer(source, keep_state_as="none")
    with pytest.raises(elman.InvalidInputError, match=r"from_: .* model 'older' has none to give"):
        await (await client.model("narrow")).session(from_=state)


async def test_recurrences_run_for_their_states_alone_where_these_are_asked_for(served: Served) -> None:
    spec, source = served.runtime("tagger").spec, x(4)
    for ask in (False, True):
        request = Infer(model="tagger", lengths=[4], outputs=["output_1"], return_state=ask)
        request.input.CopyFrom(named({"x": source})[0].tensor)
        response = await served.inference.Infer(request)
        names = await served.on_engine(lambda: served.runtime("tagger").stack.plan_names)
        assert [bool(names[node]) for node in ("low", "mid", "top")] == [True, ask, ask]
        states = by_name(response.states)
        assert set(states) == ({one.name for one in spec.states} if ask else set())
        for name, end in tagged(source)[1].items() if ask else ():
            assert_near(states[name][:, 0], end)


async def test_states_that_are_wrong_are_refused_by_name(served: Served) -> None:
    told = []
    for name, shape in (("low.h", (4, 1, 8)), ("low.x", (4, 1, 8))):
        request = Infer(model="tagger", lengths=[4], initial_states=named({name: np.zeros(shape, np.float32)}))
        request.input.CopyFrom(named({"x": x(4)})[0].tensor)
        told.append((await refusal_of(served.inference.Infer(request))).message)
    assert "together or none, got low.h" in told[0]
    assert "low.x" in told[1]
