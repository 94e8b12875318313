"""Sequences of a model of several inputs and outputs, interleaved on one stream. Arguments: address, model, file of
arrays, file for arrays.

The file has `NAME:K`, input or context NAME of sequence K, and `order`, the chunks as (sequence, first step, steps).
"""

import queue
import sys

import numpy as np
import tritonclient.grpc as grpcclient

address, model, source, target = sys.argv[1:]
given = dict(np.load(source))
context = set(given.pop("context").tolist())
outputs = given.pop("outputs").tolist()
order = given.pop("order").tolist()
client = grpcclient.InferenceServerClient(address)
answers = queue.Queue()


def tensors(k, first, steps):
    for name, array in ((key.rpartition(":")[0], array) for key, array in given.items() if key.endswith(f":{k}")):
        if name not in context:
            array = array[first : first + steps, None]
        elif first:
            continue
        else:
            array = array[None]
        tensor = grpcclient.InferInput(name, list(array.shape), "INT64" if array.dtype == np.int64 else "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        yield tensor


lengths = {k: max(first + steps for owner, first, steps in order if owner == k) for k, _, _ in order}
client.start_stream(lambda result, error: answers.put((result, error)))
for number, (k, first, steps) in enumerate(order):
    client.async_stream_infer(
        model,
        list(tensors(k, first, steps)),
        request_id=str(number),
        outputs=[grpcclient.InferRequestedOutput(name) for name in outputs],
        sequence_id=k + 1,
        sequence_start=first == 0,
        sequence_end=first + steps == lengths[k],
    )
parts = {}
for _ in order:
    result, error = answers.get(timeout=60)
    assert error is None, error
    k, first, _ = order[int(result.get_response().id)]
    for name in outputs:
        parts.setdefault((name, k), []).append((first, result.as_numpy(name)[:, 0]))
client.stop_stream()
out = {}
for (name, k), told in parts.items():
    out[f"{name}:{k}"] = np.concatenate([part for _, part in sorted(told, key=lambda one: one[0])])
np.savez(target, **out)
