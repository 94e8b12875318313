"""`config.json`, or the attribute `model_config`: what a model is, of Keras 3 and of Keras 2."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from elman_models.export.refusals import ExportError
from elman_models.from_keras.model import MAX_LAYERS, Input, KerasModel, Layer, LayerCall, TensorOf
from elman_models.spec import MAX_SIZE

MODELS = ("Sequential", "Functional", "Model")
_OWN = ("keras", "tensorflow.keras", "tensorflow.python.keras", "tf_keras", "builtins")
_CALL_ARGUMENTS = ("training", "mask")
_NO_CODE = "layers of Keras itself; what a function of yours does is said with them, or in torch"


def parse_model(config: Mapping[str, Any]) -> KerasModel:
    """The model.

    Raises:
        ExportError: it holds code (Lambda, a class of somebody's own), or is of another kind than Sequential and
            Functional; or the config is damaged.
    """
    kind = config.get("class_name")
    if kind not in MODELS:
        check_own(config, str(kind))
        raise ExportError(f"a model of class {kind}: expected Sequential or Functional")
    check_own(config, str(kind))
    own = _mapping(config.get("config"), "config")
    given = own.get("layers")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_LAYERS:
        raise ExportError(f"config.layers: expected 1 to {MAX_LAYERS} layers")
    name = str(own.get("name", "model"))
    layers = [_layer(_mapping(one, "a layer")) for one in given]
    names = [layer.name for layer in layers]
    for twice in {n for n in names if names.count(n) > 1}:
        raise ExportError(f"layer {twice}: stands twice")
    return _sequential(name, layers, own) if kind == "Sequential" else _functional(name, layers, own)


def check_own(given: Mapping[str, Any], what: str) -> None:
    """Whether it is a class of Keras's own.

    Raises:
        ExportError: it is code of somebody's, or was registered by somebody.
    """
    module, registered = given.get("module"), given.get("registered_name")
    if what == "Lambda":
        raise ExportError(f"{_named(given, what)}: holds code, which is not run. Instead: {_NO_CODE}")
    is_own = module is None or any(str(module) == own or str(module).startswith(f"{own}.") for own in _OWN)
    if not is_own or (registered not in (None, what) and ">" in str(registered)):
        whose = registered or module
        raise ExportError(f"{_named(given, what)}: a class of {whose}, not of Keras. Instead: {_NO_CODE}")


def _named(given: Mapping[str, Any], what: str) -> str:
    own = given.get("config")
    name = own.get("name", "") if isinstance(own, Mapping) else ""
    return f"layer {name} ({what})"


def _mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ExportError(f"{where}: expected a mapping, got {type(given).__name__}")
    return given


def _list(given: object, where: str) -> Sequence[object]:
    """None is none of them."""
    if given is not None and not isinstance(given, list | tuple):
        raise ExportError(f"{where}: expected a list, got {type(given).__name__}")
    return given or ()


def _layer(given: Mapping[str, Any]) -> Layer:
    kind = str(given.get("class_name"))
    check_own(given, kind)
    config = _mapping(given.get("config"), f"config of a {kind}")
    name = str(given.get("name") or config.get("name") or kind)
    calls = tuple(_call(one, name) for one in _list(given.get("inbound_nodes"), f"layer {name}: inbound_nodes"))
    is_operation = ".ops" in str(given.get("module"))
    return Layer(kind, name, config, calls, is_operation)


def _call(given: object, name: str) -> LayerCall:
    if isinstance(given, Mapping):  # Keras 3
        keywords = _mapping(given.get("kwargs", {}), f"layer {name}: kwargs")
        arguments = tuple(_argument(one, name) for one in _list(given.get("args"), f"layer {name}: args"))
        masks = tuple(_tensors(_argument(keywords.get("mask"), name)))
    else:
        nodes = given if isinstance(given, list) else []
        if nodes and isinstance(nodes[0], str):  # one input, without a list around it
            nodes = [nodes]
        nodes = [_list(node, f"layer {name}: inbound_nodes") for node in nodes]
        keywords = {k: v for node in nodes if len(node) > 3 for k, v in _mapping(node[3], f"layer {name}").items()}
        tensors = tuple(_tensor(node[:3], name) for node in nodes)
        arguments, masks = (tensors[0] if len(tensors) == 1 else tensors,), ()
    for key, value in keywords.items():
        if key not in _CALL_ARGUMENTS and value is not None:
            raise ExportError(f"layer {name}: is called with {key}, which is not known")
    if keywords.get("training"):
        raise ExportError(f"layer {name}: is called with training=True, as in training")
    return LayerCall(arguments, masks)


def _argument(given: object, name: str) -> object:
    if isinstance(given, list | tuple):
        return tuple(_argument(one, name) for one in given)
    if isinstance(given, Mapping):
        if given.get("class_name") != "__keras_tensor__":
            raise ExportError(f"layer {name}: is called with a {given.get('class_name')}, which is not known")
        return _tensor(_mapping(given.get("config"), f"layer {name}").get("keras_history"), name)
    return given


def _tensor(given: object, name: str) -> TensorOf:
    if not isinstance(given, list | tuple) or len(given) < 3 or not all(isinstance(n, int) for n in given[1:3]):
        raise ExportError(f"layer {name}: expected a result of a layer, got {given!r:.80}")
    return TensorOf(str(given[0]), int(given[1]), int(given[2]))


def _tensors(given: object) -> Iterator[TensorOf]:
    if isinstance(given, TensorOf):
        yield given
    elif isinstance(given, tuple):
        for one in given:
            yield from _tensors(one)


def _sequential(name: str, layers: Sequence[Layer], own: Mapping[str, Any]) -> KerasModel:
    """A chain; its first layer is, or says, the input."""
    first = layers[0]
    shape = first.config.get("batch_shape", first.config.get("batch_input_shape", own.get("build_input_shape")))
    begin = [] if first.kind == "InputLayer" else [Layer("InputLayer", f"{first.name}_input", {"batch_shape": shape})]
    chain = [*begin, *layers]
    linked = [chain[0]]
    for before, layer in pairwise(chain):
        linked.append(Layer(layer.kind, layer.name, layer.config, (LayerCall((TensorOf(before.name),)),)))
    return KerasModel(name, tuple(linked), (_input(chain[0]),), {"output": TensorOf(linked[-1].name)})


def _functional(name: str, layers: Sequence[Layer], own: Mapping[str, Any]) -> KerasModel:
    by_name = {layer.name: layer for layer in layers}
    inputs = [one for _, one in _references(own.get("input_layers"), "input_layers")]
    outputs = list(_references(own.get("output_layers"), "output_layers"))
    for _, one in [("", one) for one in inputs] + outputs:
        if one.layer not in by_name:
            raise ExportError(f"layer {one.layer}: is missing")
    named: dict[str, TensorOf] = {}
    for key, one in outputs:
        base = key or ("output" if len(outputs) == 1 else one.layer)
        unique = base if base not in named else f"{base}_{len(named)}"
        named[unique] = one
    return KerasModel(name, tuple(layers), tuple(_input(by_name[one.layer]) for one in inputs), named)


def _references(given: object, where: str) -> Iterator[tuple[str, TensorOf]]:
    """With keys where it is a dict."""
    if isinstance(given, Mapping):
        for key, one in given.items():
            yield str(key), _tensor(one, where)
    elif isinstance(given, list) and len(given) == 3 and isinstance(given[0], str) and isinstance(given[1], int):
        yield "", _tensor(given, where)
    elif isinstance(given, list):
        for one in given:
            yield "", _tensor(one, where)
    else:
        raise ExportError(f"{where}: expected results of layers, got {type(given).__name__}")


def _input(layer: Layer) -> Input:
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if not isinstance(shape, list | tuple) or not 1 < len(shape) <= 8:
        raise ExportError(f"{layer}: expected an input of a batch with 1 to 7 axes more, got {shape}")
    for size in shape:
        if size is not None and not (type(size) is int and 0 < size <= MAX_SIZE):
            raise ExportError(f"{layer}: expected sizes up to {MAX_SIZE}, got {shape}")
    return Input(layer.name, tuple(shape[1:]))
