"""Files of Keras that are damaged, hold code, or would be something else: refused by name, nothing run or written."""

import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_files import FIXTURES, Config, altered, layer

from elman_models import ExportError, pack_keras

KERNEL = "layers/lstm/cell/vars/0"


def refused(path: Path, *said: str) -> None:
    out = path.parent / "m"
    with pytest.raises(ExportError) as caught:
        pack_keras(path, out=out, name="m", quiet=True)
    assert str(path) in str(caught.value)
    for words in said:
        assert words in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("with_lambda", "layer lambda (Lambda): holds code, which is not run"),
        ("with_class", "layer twice (Twice): a class of Mine>Twice, not of Keras"),
    ],
)
def test_code_in_a_file_is_refused_by_the_layers_name(file: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / f"{file}.keras"
    path.write_bytes((FIXTURES / path.name).read_bytes())
    refused(path, said)


def test_directions_of_two_kinds_of_gru_are_refused(tmp_path: Path) -> None:
    def mixed(config: Config) -> None:
        own = layer(config, "Bidirectional")["config"]
        own["backward_layer"] = json.loads(json.dumps(own["layer"]))
        own["backward_layer"]["config"].update(reset_after=True, go_backwards=True)

    said = "layer bidirectional (Bidirectional): reset_after differs between the directions"
    refused(altered("reset_before_both_ways", tmp_path, config=mixed), said)


def _set(kind: str, **fields: Any) -> Callable[[Config], object]:
    return lambda config: layer(config, kind)["config"].update(fields)


CONFIGS: dict[str, tuple[Callable[[Config], object], str]] = {
    "a layer that is not known": (
        lambda c: layer(c, "Dense").update(class_name="Attention"),
        "layer dense (Attention): a layer that is not known; known are Activation",
    ),
    "a module of somebody's own": (
        lambda c: layer(c, "Dense").update(module="evil.layers"),
        "layer dense (Dense): a class of evil.layers, not of Keras",
    ),
    "a module that begins like Keras's": (
        lambda c: layer(c, "Dense").update(module="kerasevil"),
        "a class of kerasevil, not of Keras",
    ),
    "a function of somebody's own": (
        _set("Dense", activation={"module": "evil", "class_name": "function", "config": "f", "registered_name": "f"}),
        "layer dense (Dense): activation 'f' is not known",
    ),
    "another activation of a recurrence": (
        _set("LSTM", recurrent_activation="hard_sigmoid"),
        "recurrent_activation: expected sigmoid, got 'hard_sigmoid'",
    ),
    "a recurrence that is read backwards": (_set("LSTM", go_backwards=True), "layer lstm (LSTM): go_backwards"),
    "fewer units than its weights": (
        _set("LSTM", units=4),
        f"layer lstm (LSTM): weight kernel ({KERNEL}): expected shape ['any', 16], got [4, 20]",
    ),
    "a size that is none": (_set("LSTM", units=-5), "units: expected a number, got -5"),
    "a size that is text": (_set("Dense", units="2"), "units: expected a number, got '2'"),
    "an input too large": (
        _set("InputLayer", batch_shape=[None, None, 1 << 40]),
        "expected sizes up to 1048576",
    ),
    "an input that is no sequence": (_set("InputLayer", batch_shape=[None, 4]), "takes no sequence"),
    "an input of other features": (
        _set("InputLayer", batch_shape=[None, None, 5]),
        "layer lstm (LSTM): ",
    ),
    "no layers": (lambda c: c["config"].update(layers=[]), "config.layers: expected 1 to 10000 layers"),
    "another class of model": (
        lambda c: c.update(class_name="MyModel", module="my.models", registered_name="My>MyModel"),
        "a class of My>MyModel, not of Keras",
    ),
    "calls that are no list": (
        lambda c: (c.update(class_name="Functional"), layer(c, "LSTM").update(inbound_nodes=7)),
        "layer lstm: inbound_nodes: expected a list, got int",
    ),
    "a layer twice": (
        lambda c: c["config"]["layers"].append(layer(c, "Dense")),
        "layer dense: stands twice",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_something_else_is_refused_by_the_layers_name(case: str, tmp_path: Path) -> None:
    change, said = CONFIGS[case]
    refused(altered("lstm_stack", tmp_path, config=change), said)


def _replaced(data: np.ndarray, **options: Any) -> Callable[[h5py.File], object]:
    def replace(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=data, **options)

    return replace


def _linked(link: object) -> Callable[[h5py.File], object]:
    def replace(file: h5py.File) -> None:
        del file[KERNEL]
        file[KERNEL] = link

    return replace


def _external(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (4, 20), "f4", external=[("/etc/hostname", 0, 320)])


def _virtual(file: h5py.File) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout((4, 20), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4, 20))
    file.create_virtual_dataset(KERNEL, layout)


def _hollow(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def _of_another(file: h5py.File) -> None:
    file["layers/lstm/vars"].attrs["name"] = "lstm_1"


WEIGHTS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "missing": (lambda f: f.pop(KERNEL), "layer lstm (LSTM): weight kernel: is missing"),
    "one too many": (
        lambda f: f.create_dataset("layers/lstm/cell/vars/3", data=np.zeros(3, "f4")),
        "weight layers/lstm/cell/vars/3: is one more than the layer has",
    ),
    "of another shape": (_replaced(np.zeros((4, 19), "f4")), "expected shape ['any', 20], got [4, 19]"),
    "of another number of axes": (_replaced(np.zeros(80, "f4")), "expected shape ['any', 20], got [80]"),
    "not finite": (_replaced(np.full((4, 20), np.nan, "f4")), "expected finite numbers"),
    "of ints": (_replaced(np.zeros((4, 20), "i4")), f"{KERNEL}: expected floats, got int32"),
    "compressed": (_replaced(np.zeros((4, 20), "f4"), compression="gzip"), f"{KERNEL}: is compressed"),
    "without its numbers": (_hollow, "expected 4398046511104 bytes of numbers, got 0"),
    "behind a soft link": (_linked(h5py.SoftLink("/layers/lstm_1/cell/vars/0")), "a link (SoftLink), which is not"),
    "behind a link to another file": (_linked(h5py.ExternalLink("/etc/passwd", "/x")), "a link (ExternalLink), which"),
    "in another file": (_external, "its numbers are in another file, which is not opened"),
    "put together of others": (_virtual, "its numbers are in another file, which is not opened"),
    "another layer's": (_of_another, "layer lstm (LSTM): its weights are those of lstm_1"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_not_the_layers_own_are_refused_by_name(case: str, tmp_path: Path) -> None:
    change, said = WEIGHTS[case]
    if case == "without its numbers":
        assert 4 * (1 << 40) == 4398046511104
    refused(altered("lstm_stack", tmp_path, weights=change), said)


def test_a_convolution_that_reaches_back_without_end_is_refused_by_the_layers_name(tmp_path: Path) -> None:
    path = altered("front", tmp_path, config=_set("Conv1D", dilation_rate=1 << 24))
    refused(path, "layer conv1d (Conv1D): a value of 201326598 numbers; expected at most 4194304")


def test_numbers_that_many_layers_share_are_not_read_over_and_over(tmp_path: Path) -> None:
    def config(given: Config) -> None:
        layers = given["config"]["layers"]
        dense = layer(given, "Dense")
        dense["config"].update(units=300, use_bias=False)
        for number in range(9):
            layers.append(json.loads(json.dumps(dense)))
            layers[-1]["config"]["name"] = f"more_{number}"

    def weights(file: h5py.File) -> None:
        del file["layers/dense/vars/0"], file["layers/dense/vars/1"]
        file["layers/dense/vars/0"] = np.random.default_rng(1).random((300, 300), "f4")
        for number in range(1, 10):
            file[f"layers/dense_{number}/vars/0"] = file["layers/dense/vars/0"]

    path = altered("lstm_stack", tmp_path, config=config, weights=weights)
    refused(path, "layers/dense_4/vars/0: the same numbers are read over and over")


PARTS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "no config": (lambda p: p.pop("config.json"), "has no config.json"),
    "no weights": (lambda p: p.pop("model.weights.h5"), "has no model.weights.h5"),
    "a config that is no JSON": (lambda p: p.update({"config.json": b"{"}), "config.json: is not JSON"),
    "a config nested without end": (lambda p: p.update({"config.json": b"[" * 200_000}), "config.json: is not JSON"),
    "a config that is a list": (lambda p: p.update({"config.json": b"[]"}), "config.json: expected a mapping"),
    "a size that is said twice": (
        lambda p: p.update({"config.json": p["config.json"].replace(b'"units":', b'"units": 5, "units":', 1)}),
        "config.json: is not JSON: 'units' stands twice",
    ),
    "weights that are none": (lambda p: p.update({"model.weights.h5": b"x" * 99}), "cannot be read as HDF5"),
    "weights that are a pickle": (
        lambda p: p.update({"model.weights.h5": pickle.dumps([1, 2])}),
        "cannot be read as HDF5",
    ),
    "weights cut short": (
        lambda p: p.update({"model.weights.h5": p["model.weights.h5"][:3000]}),
        "model.weights.h5",
    ),
    "a way out": (lambda p: p.update({"../out": b""}), "'../out': a name that leads out of the archive"),
    "a way to the root": (lambda p: p.update({"/etc/out": b""}), "a name that leads out of the archive"),
    "a large config": (lambda p: p.update({"config.json": b" " * (1 << 25)}), "expected at most 16777216 bytes"),
    "a bomb": (lambda p: p.update({"model.weights.h5": bytes(1 << 25)}), "a zip bomb"),
}


@pytest.mark.parametrize("case", PARTS)
def test_an_archive_that_is_damaged_or_made_to_harm_is_refused(case: str, tmp_path: Path) -> None:
    change, said = PARTS[case]
    refused(altered("lstm_stack", tmp_path, parts=change), said)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_part_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = altered("lstm_stack", tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    refused(path, "config.json: stands twice in the archive")


class Payload:
    """What a pickle would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_pickle_or_garbage_under_that_name_is_not_loaded(suffix: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"given{suffix}", tmp_path / "run"
    for data in (pickle.dumps(Payload(mark)), b"", b"garbage" * 99, (FIXTURES / "lstm_stack.keras").read_bytes()[:999]):
        path.write_bytes(data)
        refused(path, "is " if not data.startswith(b"PK") else "is damaged")
    assert not mark.exists()
    path.unlink()
    refused(path, "no such file")


def test_an_old_file_of_weights_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(3))
    refused(path, "holds weights alone; expected a whole model")


def legacy(folder: Path) -> Path:
    path = folder / "given.h5"
    path.write_bytes(gzip.decompress((FIXTURES / "tagger.h5.gz").read_bytes()))
    return path


def test_an_old_file_is_held_to_the_same_rules(tmp_path: Path) -> None:
    path = legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/lstm"]
        name = group.attrs["weight_names"][0]
        del group[name]
        group[name] = h5py.ExternalLink("/etc/passwd", "/x")
    refused(path, "a link (ExternalLink), which is not followed")
    path = legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer(config, "Dense")["class_name"] = "Lambda"
        file.attrs["model_config"] = json.dumps(config)
    refused(path, "(Lambda): holds code, which is not run")
    path.write_bytes(legacy(tmp_path).read_bytes()[:9000])
    refused(path)


def test_a_layer_that_is_called_with_what_comes_of_it_is_refused(tmp_path: Path) -> None:
    def cycle(config: Config) -> None:
        history = layer(config, "Dense")["inbound_nodes"][0]["args"][0]["config"]["keras_history"]
        history[0] = layer(config, "Multiply")["name"]

    refused(altered("tagger", tmp_path, config=cycle), "is called with what comes of it")


def test_models_within_models_without_end_are_refused(tmp_path: Path) -> None:
    def nest(config: Config) -> None:
        inner = config["config"]["layers"]
        for depth in range(250):
            begin = {"class_name": "InputLayer", "config": {"batch_shape": [None, None, 4], "name": f"i{depth}"}}
            inner = [begin, {"class_name": "Sequential", "config": {"name": f"m{depth}", "layers": inner}}]
        config["config"]["layers"] = inner

    refused(altered("lstm_stack", tmp_path, config=nest), "nested")


def test_a_mask_that_is_computed_is_refused(tmp_path: Path) -> None:
    def mask(config: Config) -> None:
        call = layer(config, "LSTM")["inbound_nodes"][0]
        call["kwargs"]["mask"] = call["args"][0]
        call["kwargs"]["mask"]["config"]["keras_history"] = [layer(config, "Add")["name"], 0, 0]

    refused(altered("tagger", tmp_path, config=mask), "layer lstm (LSTM): a mask that is computed")
