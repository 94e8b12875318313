"""A Keras model as a module: torch's own modules, called as its layers call each other."""

import re
from collections.abc import Mapping

import torch
from torch import nn

from elman_models.export.refusals import ExportError
from elman_models.from_keras.config import MODELS, parse_model
from elman_models.from_keras.layers import LAYERS
from elman_models.from_keras.layers.merging import operation
from elman_models.from_keras.layers.registry import Building
from elman_models.from_keras.model import KerasModel, Layer, TensorOf
from elman_models.from_keras.weights import Weights

_MASKS = ("NotEqual", "Masking", "Embedding")
"""What makes a mask of padding."""
Key = tuple[str, int]
"""A layer, and which of its calls."""


class KerasModule(nn.Module):
    """Takes the model's inputs by name, [B, T, *features] (ids [B, T]); gives its outputs by name."""

    def __init__(self, model: KerasModel, weights: Weights, *, is_legacy: bool) -> None:
        """Raises ExportError for a layer that is not known, or whose weights are not its own."""
        super().__init__()
        self._model = model
        self._layers = {layer.name: layer for layer in model.layers}
        self.parts: dict[str, str] = {}
        """By a submodule's path the layer, in words."""
        self.notes: list[str] = []
        """What is assumed, a line each."""
        self._order = list(self._ordered())
        self._paths: dict[str, str] = {}
        for name in dict.fromkeys(name for name, _ in self._order):
            layer = self._layers[name]
            if layer.kind != "InputLayer":
                self._add(layer, weights, is_legacy)

    def _add(self, layer: Layer, weights: Weights, is_legacy: bool) -> None:
        module: nn.Module
        if layer.kind in MODELS and not layer.is_operation:
            module = self._inner(layer, weights, is_legacy)
        elif layer.is_operation:
            module = operation(Building(layer, weights, is_legacy))
        elif layer.kind in LAYERS:
            module = LAYERS[layer.kind](Building(layer, weights, is_legacy, self.notes))
        else:
            raise layer.refuse(f"a layer that is not known; known are {', '.join(sorted(LAYERS))}")
        base = re.sub(r"\W+", "_", layer.name).strip("_")[:100] or "layer"
        path = base
        while path in self._modules or hasattr(self, path):
            path = f"{path}_"
        self.add_module(path, module)
        self._paths[layer.name] = path
        self.parts[path] = str(layer)
        if isinstance(module, KerasModule):
            self.parts |= {f"{path}.{inner}": f"{layer}, {words}" for inner, words in module.parts.items()}

    def _inner(self, layer: Layer, weights: Weights, is_legacy: bool) -> "KerasModule":
        model = parse_model({"class_name": layer.kind, "config": layer.config})
        module = KerasModule(model, weights.inside(layer, model.layers), is_legacy=is_legacy)
        self.notes += module.notes
        return module

    def _ordered(self) -> list[Key]:
        """The calls that outputs need, each after those that it needs."""
        done: dict[Key, None] = {}
        waiting: list[tuple[Key, bool]] = [((one.layer, one.call), False) for one in self._model.outputs.values()]
        begun: set[Key] = set()
        while waiting:
            key, is_ready = waiting.pop()
            if is_ready:
                done[key] = None
            elif key not in done:
                if key in begun:
                    raise ExportError(f"{self._layers[key[0]]}: is called with what comes of it")
                begun.add(key)
                waiting.append((key, True))
                waiting += [
                    ((one.layer, one.call), False) for one in self._needed(key) if (one.layer, one.call) not in done
                ]
        return list(done)

    def _needed(self, key: Key) -> list[TensorOf]:
        name, number = key
        layer = self._layers.get(name)
        if layer is None:
            raise ExportError(f"layer {name}: is missing")
        if layer.kind == "InputLayer":
            return []
        if not 0 <= number < len(layer.calls):
            raise layer.refuse(f"is called {len(layer.calls)} times, and call {number} is asked for")
        call = layer.calls[number]
        for mask in call.masks:
            source = self._layers.get(mask.layer)
            if source is None or source.kind not in _MASKS:
                raise layer.refuse("a mask that is computed: a bundle runs each row to its own length, without padding")
        return list(_tensors(call.arguments))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """By name."""
        return self.run(inputs)

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """By name.

        Raises:
            ExportError: what a layer is given does not go with its weights.
        """
        known: dict[Key, object] = {}
        for name, number in self._order:
            layer = self._layers[name]
            if layer.kind == "InputLayer":
                known[name, number] = inputs[name]
            else:
                arguments = [_filled(one, known) for one in layer.calls[number].arguments]
                known[name, number] = self._called(layer, arguments)
        return {plain_name(name): _result(known, one) for name, one in self._model.outputs.items()}

    def _called(self, layer: Layer, arguments: list[object]) -> object:
        module = self.get_submodule(self._paths[layer.name])
        try:
            if isinstance(module, KerasModule):
                given = [one for part in arguments for one in (part if isinstance(part, tuple) else (part,))]
                results = module({i.name: one for i, one in zip(module.inputs, given, strict=True)})
                return tuple(results.values())
            return module(*arguments)
        except ExportError:
            raise
        except Exception as error:  # torch raises nearly anything where shapes do not go together
            first = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise layer.refuse(first) from error

    @property
    def inputs(self) -> tuple[Layer, ...]:
        """Its input layers."""
        return tuple(self._layers[one.name] for one in self._model.inputs)

    def ids(self) -> set[str]:
        """The inputs that are ids, since they go to an Embedding."""
        found = set()
        for layer in self._model.layers:
            for call in layer.calls:
                used = {one.layer for one in _tensors(call.arguments)}
                if layer.kind == "Embedding":
                    found |= used
                module = self._modules.get(self._paths.get(layer.name, ""))
                if isinstance(module, KerasModule) and module.ids():
                    found |= used
        return found & {one.name for one in self._model.inputs}


def _tensors(given: object) -> list[TensorOf]:
    if isinstance(given, TensorOf):
        return [given]
    return [one for part in given for one in _tensors(part)] if isinstance(given, tuple) else []


def _filled(given: object, known: Mapping[Key, object]) -> object:
    if isinstance(given, TensorOf):
        return _result(known, given)
    return tuple(_filled(part, known) for part in given) if isinstance(given, tuple) else given


def _result(known: Mapping[Key, object], one: TensorOf) -> torch.Tensor:
    found = known[one.layer, one.call]
    results = found if isinstance(found, tuple) else (found,)
    result = results[one.index] if 0 <= one.index < len(results) else None
    result = result() if callable(result) and not isinstance(result, torch.Tensor) else result
    if not isinstance(result, torch.Tensor):
        raise ExportError(f"layer {one.layer}: gives {len(results)} tensors, and number {one.index} is asked for")
    return result


def plain_name(name: str) -> str:
    """As a bundle can call it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".-")[:100] or "output"
