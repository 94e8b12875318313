"""`elman_models.pack_onnx`: a bundle from an .onnx file, held against onnxruntime."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from elman_models.comparison import TOLERANCE
from elman_models.export.file_packing import FileModule, pack_file
from elman_models.export.packing import Words
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.target import Target
from elman_models.from_onnx.file import read_onnx
from elman_models.from_onnx.folding import folded
from elman_models.from_onnx.graph import OnnxGraph
from elman_models.from_onnx.inputs import batch_is_first, examples, features
from elman_models.from_onnx.module import OnnxModule
from elman_models.from_onnx.recurrent import RECURRENCES
from elman_models.from_onnx.rewriting import rewritten
from elman_models.from_onnx.runtime import OnnxRuntime

_GUESS = "the first axis of inputs is the batch, the second the length: neither a recurrence nor a name says so"


def pack_onnx(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    name: str,
    version: str = "1",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    precision: str = "float32",
    tolerance: float = TOLERANCE,
    golden: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackedModule:
    """Makes a bundle of an .onnx file, and proves that it gives what onnxruntime gives for the file.

    Nothing in the file is code: operators are looked up by name in a closed table. An initial state that is an input of
    the graph is the session's state.

    Args:
        path: the file; tensors that it keeps in other files are read from its own folder alone.
        out: the bundle's folder, new or empty.
        name: the model's.
        version, description, metadata: of the bundle.
        precision: the least that plans may compute with, as of `GraphSpec`.
        tolerance: the largest difference that is no error, times max(1, |y|).
        golden: a file of inputs and what the file's model gives for them, as `compare_graph` takes it; what the
            bundle gives is held against it, too.
        overwrite: replace a bundle that is there.
        quiet: print nothing.

    Raises:
        ExportError: the file is damaged or no bundle can be what it says; the message names the node. Or what was made
            of it gives something else.
        GoldenError: the golden file cannot be read, or is none of this model.
        BundleError: `out` is in use, or cannot be written.
    """
    words = Words(name, version, description, metadata, precision)
    target = Target(out, tolerance, golden, overwrite=overwrite, quiet=quiet)
    return pack_file(path, _read, words, target)


def _read(path: Path) -> Iterator[FileModule]:
    """Once for each reading of which sizes are batch and length."""
    graph, model = read_onnx(path)
    graph = rewritten(folded(graph))
    if not graph.inputs:
        raise ExportError("takes no input")
    module, runtime, is_first = OnnxModule(graph).eval(), OnnxRuntime(graph, model), batch_is_first(graph)
    for example in examples(graph):
        yield FileModule(
            module,
            (example,),
            module.parts,
            is_first is not False,
            features=features(graph),
            reference=runtime,
            proved_against="onnxruntime",
            notes=(_GUESS,) * (is_first is None and not _says_layout(graph)),
        )


def _says_layout(graph: OnnxGraph) -> bool:
    """Whether some node is made for one layout."""
    return any(node.op in (*RECURRENCES, "Conv") for node in graph.nodes)
