"""`elman_models.pack`: a bundle from a module, proved against it."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from elman_models.comparison import TOLERANCE
from elman_models.export.assembly import Assembled, assemble
from elman_models.export.capture import Capture, capture, evaluating, plain_module, raised_at
from elman_models.export.ends import StackEnds
from elman_models.export.lengths import check_context, check_no_state
from elman_models.export.proof import SHAPES, Run, laid_out, prove, random_like, read_out
from elman_models.export.refusals import ExportError, NeedsWhole, refusal
from elman_models.export.report import PackedModule
from elman_models.export.target import Proved, Target
from elman_models.export.tensors import filled, flatten, named_arguments
from elman_models.export.traced import Role
from elman_models.export.translation import Translation

_OUTSIDE = "to be within the support"
"""What torch.distributions say of a value that cannot be."""


@dataclass(frozen=True)
class Words:
    """What a bundle says of itself."""

    name: str
    version: str = "1"
    description: str = ""
    metadata: Mapping[str, str] | None = None
    precision: str = "float32"

    def fields(self) -> dict[str, object]:
        """As fields of a spec."""
        given = {"name": self.name, "version": self.version, "description": self.description}
        given |= {"precision": self.precision}
        return given | {"metadata": dict(self.metadata or {})}


def pack(
    module: nn.Module,
    example_inputs: object,
    *,
    out: str | os.PathLike[str],
    name: str,
    output_names: Sequence[str] | None = None,
    version: str = "1",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    batch_first: bool | None = None,
    context: Sequence[str] = (),
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackedModule:
    """Makes a bundle of a module that takes sequences, and proves that it gives what the module gives.

    Args:
        module: as trained; it is read in evaluation mode and float32, and stays as it is.
        example_inputs: a tuple as the module takes it: a batch of sequences in its own layout, best of at least two
            rows and two steps.
        out: the bundle's folder, new or empty.
        name: the model's.
        output_names: of what the module gives, its states aside; None: the keys of a dict, `output`, or `output_0`, ...
        version, description, metadata: of the bundle.
        batch_first: where neither a stack nor a convolution tells: whether inputs are [B, T, ...] or [T, B, ...].
        context: inputs that are one thing for a session though they look like sequences of their own, a memory
            [B, S, ...] that is attended to, say: always as long as in the example. What is [B, F] need not be named,
            if the module takes that F alone.
        tolerance: the largest difference that is no error, times max(1, |y|).
        overwrite: replace a bundle that is there.
        quiet: print nothing.

    Raises:
        ExportError: the module cannot be packed: says which line of it, and what to do instead; or what was made of it
            gives something else.
        BundleError: `out` is in use, or cannot be written.
    """
    target = Target(out, tolerance, overwrite=overwrite, quiet=quiet)
    target.check()
    own, words = plain_module(module), Words(name, version, description, metadata)
    with evaluating(own):
        captured = capture(own, named_arguments(own, example_inputs), batch_first)
        check_context(captured, context)
        proved = built(partial(called, own), captured, words, output_names, context, watched=own)
    return target.write(proved)


Call = Callable[[Sequence[object]], object]
"""What a module gives for its arguments."""


def built(
    call: Call,
    captured: Capture,
    words: Words,
    output_names: Sequence[str] | None = None,
    context: Sequence[str] = (),
    *,
    reference: Call | None = None,
    shapes: Sequence[tuple[int, int]] = (),
    watched: nn.Module | None = None,
) -> Proved:
    """The graph of a module, held against it.

    Args:
        call: the module.
        captured: what was read of it.
        words: what the bundle says of itself.
        output_names, context: as of `pack`.
        reference: what the graph is held against; None: the module.
        shapes: batches and lengths to be held at besides those that every module is.
        watched: the module itself, what whose stacks end with is held against the graph's states.

    Raises:
        ExportError: no graph can be what the module is; says which line of it.
    """
    leaves = list(flatten(call([argument.value for argument in captured.arguments]), "output"))
    assembled, reason = assembled_of(captured, named_leaves(leaves, output_names), words)
    check_no_state(assembled.inputs, context)
    usual = SHAPES if captured.sequences.batch is not None else [(1, length) for _, length in SHAPES]
    ends = StackEnds(watched, assembled.spec) if watched else None
    differences = prove(assembled, runner(reference or call, captured, assembled, ends), [*shapes, *usual])
    return Proved(assembled, differences, reason, no_tensors(leaves))


def assembled_of(captured: Capture, names: Sequence[tuple[str, int]], words: Words) -> tuple[Assembled, str]:
    """As a streaming graph, or else a whole one, and why."""
    try:
        translation = Translation(captured, is_whole=False)
        return assemble(translation, captured, names, {}, {}, words.fields()), ""
    except NeedsWhole as need:
        reason = f"{need.place}: {need.reason}"
        translation = Translation(captured, is_whole=True)
        return assemble(translation, captured, names, {}, {}, words.fields()), reason


Leaves = Sequence[tuple[str, object]]
"""What a module gives, as `flatten` has it."""


def named_leaves(leaves: Leaves, output_names: Sequence[str] | None) -> list[tuple[str, int]]:
    """Names of the tensors, and their indices.

    Raises:
        ExportError: no tensor; too many or too few names, or one twice.
    """
    tensors = [(name, index) for index, (name, leaf) in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    if not tensors:
        raise ExportError(
            f"the module gives no tensor: {', '.join(no_tensors(leaves)) or 'nothing'}. Instead: have forward return "
            "what is to be served"
        )
    if output_names is None:
        return tensors
    if len(output_names) > len(tensors) or not output_names or len(set(output_names)) != len(output_names):
        raise ExportError(
            f"output_names: expected at most {len(tensors)} names, each once (the module gives "
            f"{', '.join(name for name, _ in tensors)}), got {', '.join(output_names) or 'none'}"
        )
    renamed = [(name, index) for name, (_, index) in zip(output_names, tensors, strict=False)]
    return [*renamed, *tensors[len(renamed) :]]


def no_tensors(leaves: Leaves) -> tuple[str, ...]:
    """What is no tensor, and so no output: `output_1 (None)`."""
    return tuple(f"{name} ({leaf!r})" for name, leaf in leaves if not isinstance(leaf, torch.Tensor))


def called(module: nn.Module, arguments: Iterable[object]) -> object:
    """What the module gives.

    Raises:
        ExportError: it raises.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # oneDNN, which torch tries first, has no projection; others are the author's.
            warnings.simplefilter("ignore")
            return module(*arguments)
    except Exception as error:  # the author's code may raise anything
        raise _failed(error) from error


def _failed(error: Exception) -> ExportError:
    first = str(error).strip().partition("\n")[0].rstrip(":")  # torch.distributions' go on with all of a tensor
    instead = ""
    if _OUTSIDE in first:
        instead = (
            "clamp what the distribution takes, or make it with validate_args=False: a module is run on random numbers"
        )
    return refusal(raised_at(error), f"the module itself fails: {type(error).__name__}: {first}", instead)


def runner(
    call: Call, captured: Capture, assembled: Assembled, ends: StackEnds | None = None
) -> Callable[[int, int], Run]:
    """Runs the module, which `call` does with its arguments, on random sequences of that batch and length; `ends`: what
    its stacks are to be watched by."""
    examples = {name: leaf for a in captured.arguments for name, leaf in a.leaves() if isinstance(leaf, torch.Tensor)}

    def run(batch: int, length: int) -> Run:
        inputs, given = {}, {}
        for one in assembled.inputs:
            shape = [batch] * (Role.BATCH in one.traced.roles or captured.sequences.batch is None)
            shape += [length] * (Role.TIME in one.traced.roles)
            tensor = random_like(examples[one.name], [*shape, *one.traced.features], one.traced.value.bound)
            inputs[one.name] = tensor
            if one.kind == "initial":
                tensor = random_like(examples[one.name], [batch, *one.traced.features], None)
                inputs[one.name] = tensor.transpose(0, 1) if batch and len(tensor.shape) > 2 else tensor
            given[one.name] = laid_out(tensor, one.traced.roles, batch, length)
        with ends.watched() if ends else nullcontext():
            leaves = [leaf for _, leaf in flatten(call(filled(captured.arguments, given)), "output")]
        expected = {
            o.name: read_out(leaves[o.index], o.traced.roles, batch, length, o.traced.features)  # type: ignore[arg-type]
            for o in assembled.outputs
        }
        return Run(inputs, inputs, expected, batch, length, ends.of(batch) if ends else {})

    return run
