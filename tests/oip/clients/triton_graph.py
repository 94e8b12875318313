"""Sequences of models of any inputs, outputs and states: interleaved on one stream of each model, or whole.

Arguments: address, folder. Of each MODEL.npz in it, which says what to send (tests/oip/graphs_by_triton.py), it leaves
MODEL.out.npz, with what came or with `error`.
"""

import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient
from said import tensor
from tritonclient.utils import InferenceServerException

SECONDS = 60


def inputs_of(arrays):
    return [
        tensor(np.ascontiguousarray(array), name, "INT64" if array.dtype == np.int64 else "FP32")
        for name, array in arrays.items()
    ]


def requested(outputs):
    return [grpcclient.InferRequestedOutput(name) for name in outputs]


def of_sequence(given, kind, k):
    """By name what the file has of a kind for a sequence."""
    keys = [key.split(":") for key in given]
    return {key[1]: given[":".join(key)] for key in keys if key[0] == kind and key[2] == str(k)}


def states_of(client, model, outputs, states):
    """What states begin with, by the names of the server's metadata: what comes out as NAME_n goes in as NAME_0."""
    told = [one.name for one in client.get_model_metadata(model).outputs if one.name not in outputs]
    return {f"{told[int(number)].removesuffix('_n')}_0": array for number, array in states.items()}


def chunk_of(client, model, given, outputs, k, first, steps):
    arrays = {name: array[first : first + steps, None] for name, array in of_sequence(given, "input", k).items()}
    if not first:
        arrays |= of_sequence(given, "context", k)
        if states := of_sequence(given, "state", k):
            arrays |= states_of(client, model, outputs, states)
    return arrays


def streamed(client, model, given, outputs):
    """OUTPUT:K, [T, *features], of chunks (sequence, first step, steps) in their order."""
    order, answers = given["order"].tolist(), queue.Queue()
    lengths = {k: first + steps for k, first, steps in order}
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number, (k, first, steps) in enumerate(order):
            client.async_stream_infer(
                model,
                inputs_of(chunk_of(client, model, given, outputs, k, first, steps)),
                request_id=str(number),
                outputs=requested(outputs),
                sequence_id=k + 1,
                sequence_start=first == 0,
                sequence_end=first + steps == lengths[k],
            )
        parts = {}
        for _ in order:
            result, error = answers.get(timeout=SECONDS)
            if error is not None:
                raise error
            k, first, _ = order[int(result.get_response().id)]
            for name in outputs:
                parts.setdefault(f"{name}:{k}", []).append((first, result.as_numpy(name)[:, 0]))
    finally:
        client.stop_stream()
    return {
        key: np.concatenate([part for _, part in sorted(told, key=lambda one: one[0])]) for key, told in parts.items()
    }


def called(client, model, given, outputs):
    """OUTPUT:K of batch K of sequences of one length, [T, B, *features] or [B, *features]."""
    out = {}
    for k in range(len({key.split(":")[2] for key in given if key.startswith("batch:")})):
        result = client.infer(model, inputs_of(of_sequence(given, "batch", k)), outputs=requested(outputs))
        out |= {f"{name}:{k}": result.as_numpy(name) for name in outputs}
    return out


address, folder = sys.argv[1:]
client = grpcclient.InferenceServerClient(address)
for source in sorted(Path(folder).glob("*.npz")):
    given = dict(np.load(source))
    outputs = given.pop("outputs").tolist()
    try:
        out = (streamed if "order" in given else called)(client, source.stem, given, outputs)
    except (InferenceServerException, queue.Empty) as error:  # of this model: the others are to be seen, too
        out = {"error": np.array(f"{type(error).__name__}: {error}")}
    np.savez(source.with_suffix(".out.npz"), **out)
