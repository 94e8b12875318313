"""Encoders and decoders with a linear bridge between them, as people write them; held against torch."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from served import Served, serving
from torch import nn
from toys import Toy, assert_near

import elman
from elman import StateFrom
from elman_models import (
    BundleError,
    Cell,
    HeadSpec,
    ModelSpec,
    SpecError,
    declare_hand_off,
    describe,
    graph_of,
    read_any_spec,
    read_spec,
    write_bundle,
)
from elman_models import StateFrom as Declared
from elman_models.fingerprint import fingerprint

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(4)
HIDDEN = 8


def toy_of(name: str, cell: Cell, layers: int, **fields: Any) -> Toy:
    return Toy(ModelSpec(name=name, cell=cell, input_size=3, hidden_size=HIDDEN, num_layers=layers, **fields))


class Translator(nn.Module):
    """A bidirectional encoder; its last layer's two directions through a linear layer and tanh; a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = toy_of("encoder", Cell.GRU, 2, bidirectional=True)
        self.fc = nn.Linear(2 * HIDDEN, HIDDEN).requires_grad_(False)
        self.decoder = toy_of("decoder", Cell.GRU, 1, head=HeadSpec(out_features=4))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """[T, 4] of [S, 3] and [T, 3]."""
        _, hidden = self.encoder(source)
        bridged = torch.tanh(self.fc(torch.cat((hidden[-2], hidden[-1]), dim=-1)))
        output: torch.Tensor = self.decoder(target, bridged[None])[0]
        return output


class Bridged(nn.Module):
    """Of LSTMs, layer by layer, h and c each by a linear layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = toy_of("lstm_encoder", Cell.LSTM, 2, bidirectional=True)
        self.bridges = nn.ModuleList(
            [nn.Linear(2 * HIDDEN, HIDDEN, bias=b).requires_grad_(False) for b in (True, False)]
        )
        self.decoder = toy_of("lstm_decoder", Cell.LSTM, 2)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(source)
        pairs = zip(self.bridges, state, strict=True)
        made = tuple(bridge(torch.cat([one[0::2], one[1::2]], dim=-1)) for bridge, one in pairs)
        output: torch.Tensor = self.decoder(target, made)[0]
        return output


TRANSLATOR, BRIDGED = Translator(), Bridged()
LAST = {"h": Declared(directions="concatenate", layers=[1], linear=TRANSLATOR.fc, activation="tanh")}
ALL = {n: Declared(directions="concatenate", linear=b) for n, b in zip("hc", BRIDGED.bridges, strict=True)}  # type: ignore[arg-type]


def write(folder: Path) -> Path:
    """All of them; the decoder of one as a graph, too."""
    for module in (TRANSLATOR, BRIDGED):
        for toy in (module.encoder, module.decoder):
            write_bundle(folder / toy.spec.name, toy.spec, toy.state_dict())
    graph = graph_of(TRANSLATOR.decoder.spec).model_copy(update={"name": "graph_decoder"})
    write_bundle(folder / "graph_decoder", graph, TRANSLATOR.decoder.state_dict())
    encoder = graph_of(TRANSLATOR.encoder.spec).model_copy(update={"name": "graph_encoder"})
    write_bundle(folder / "graph_encoder", encoder, TRANSLATOR.encoder.state_dict())
    declare_hand_off(folder / "decoder", LAST)
    declare_hand_off(folder / "graph_decoder", LAST)
    declare_hand_off(folder / "lstm_decoder", ALL)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(write(tmp_path_factory.mktemp("bridged")), max_sessions=8) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def x(steps: int) -> Any:
    return RNG.standard_normal((steps, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("module", "decoder"), [(TRANSLATOR, "decoder"), (TRANSLATOR, "graph_decoder"), (BRIDGED, "lstm_decoder")]
)
async def test_a_decoder_begins_from_its_encoder_as_its_bundle_says(
    client: elman.AsyncClient, module: nn.Module, decoder: str
) -> None:
    sources, target = [x(6), x(4)], x(5)
    encoder, model = await client.model(module.encoder.spec.name), await client.model(decoder)  # type: ignore[union-attr]
    expected = [module(torch.from_numpy(one), torch.from_numpy(target)).numpy() for one in sources]
    _, kept = await encoder.infer(sources[0], keep_state_as="encoded")
    async with model.session(from_=kept) as session:
        assert_near(await session.step(target[:2]), expected[0][:2])
        assert_near(await session.step(target[2:]), expected[0][2:])
        async with model.session(from_=session) as twin:  # of its own model: as it is
            assert_near((await twin.state())["h"], (await session.state())["h"])
    await kept.end()
    _, pool = await encoder.infer(sources, keep_state_as=["a", "b"])
    async with model.sessions(2, from_=pool) as decoders:
        for told, wanted in zip(await decoders.step([target] * 2), expected, strict=True):
            assert_near(told, wanted)
    await pool.end()
    _, state = await encoder.infer(sources)  # or by way of the client
    async with model.sessions(2, from_=state) as pool:
        for told, wanted in zip(await pool.step([target] * 2), expected, strict=True):
            assert_near(told, wanted)


async def test_what_the_call_says_goes_before_what_the_bundle_says_and_what_does_not_fit_is_refused(
    client: elman.AsyncClient,
) -> None:
    source, target = x(6), x(3)
    encoder, model = await client.model("encoder"), await client.model("decoder")
    _, kept = await encoder.infer(source, keep_state_as="encoded")
    async with model.session(from_=kept, map={"h": StateFrom(layers=[3])}) as session:
        _, hidden = TRANSLATOR.encoder(torch.from_numpy(source))
        expected = TRANSLATOR.decoder(torch.from_numpy(target), hidden[3:])[0].numpy()
        assert_near(await session.step(target), expected)
    await kept.end()
    lstm = await client.model("lstm_decoder")
    async with lstm.session() as other:
        with pytest.raises(elman.InvalidInputError, match=r"layers \[1\] of state 'h', which has layers 0 to 0"):
            await (await client.model("decoder")).session(from_=other)
    _, state = await encoder.infer(source)
    with pytest.raises(elman.InvalidInputError, match="model 'encoder' has no state 'c'"):
        await lstm.session(from_=state)
    _, state = await (await client.model("graph_encoder")).infer(source)  # the same as a graph
    async with model.session(from_=state, map={"h": StateFrom(layers=[3])}) as session:
        assert_near(await session.step(target), expected)


async def test_a_linear_layer_of_other_sizes_is_refused_by_name(client: elman.AsyncClient, served: Served) -> None:
    runtime = served.runtime("decoder")
    linear = runtime.stack.hand_off["h"]
    linear.weight = linear.weight[:, :-1]
    _, state = await (await client.model("encoder")).infer(x(4))
    try:
        with pytest.raises(elman.InvalidInputError, match=r"made by a linear layer of 15 features, and 'h' gives .*16"):
            await (await client.model("decoder")).session(from_=state)
    finally:
        runtime.stack.hand_off = {"h": type(linear)(TRANSLATOR.fc.weight, TRANSLATOR.fc.bias, "tanh")}


async def test_a_bundle_says_it_in_words_and_what_contradicts_it_is_refused_and_not_written(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert "hand-off:    h from h, directions concatenated, layers 1, linear of 16, tanh" in describe(
        read_spec(folder / "decoder")
    )
    before = fingerprint(folder / "decoder")
    for bundle, maps, text in (
        ("decoder", {"c": Declared()}, "hand_off.c: the model has no state 'c'; it has h"),
        ("graph_decoder", {"x": Declared()}, "hand_off.x: the model has no state 'x'; it has h"),
        ("encoder", {"h": Declared()}, "hand_off.h: the model keeps no sessions"),
        ("decoder", {"h": Declared(activation="tanh")}, "hand_off.h.activation: stands behind a linear layer"),
        ("decoder", {"h": Declared(linear=nn.Linear(16, 9))}, "hand_off.h.weight: expected shape"),
        ("decoder", {"h": Declared(directions="both")}, "hand_off.h.directions: "),  # type: ignore[arg-type]
        ("decoder", {"h": Declared(layers=[0, 1])}, "hand_off.h.layers: expected 1, as many as the state has, got 2"),
        ("graph_decoder", {"h": Declared(layers=[0, 1])}, "hand_off.h.layers: expected 1"),
        ("decoder", {"h": Declared(layers=1)}, "hand_off.h.layers: expected a sequence"),  # type: ignore[arg-type]
        ("decoder", {"h": Declared(linear=nn.Sequential())}, "got Sequential; what"),  # type: ignore[arg-type]
        ("decoder", {"h": StateFrom("h")}, "hand_off.h: expected elman_models.StateFrom, got elman."),
        ("decoder", {"h": TRANSLATOR.fc}, "StateFrom, got torch.nn.modules.linear.Linear"),
    ):
        with pytest.raises(BundleError, match=text.replace(".", r"\.")):
            declare_hand_off(folder / bundle, maps)  # type: ignore[arg-type]
    assert fingerprint(folder / "decoder") == before
    declare_hand_off(folder / "decoder", {"h": Declared(layers=[0])})
    assert read_any_spec(folder / "decoder").parameter_shapes() == TRANSLATOR.decoder.spec.parameter_shapes()
    (folder / "decoder" / "model.yaml").write_bytes(
        (folder / "decoder" / "model.yaml").read_bytes().replace(b"layers:", b"layer:")
    )
    with pytest.raises(SpecError, match=r"hand_off\.h\.layer: unknown key"):
        read_any_spec(folder / "decoder")
