"""Many sequences interleaved over one stream. Arguments: address, model, file of arrays, file for arrays.

The file has x0, x1, ... [T, features] and `order`: (sequence, steps) of each request.
"""

import queue
import sys

import numpy as np
import tritonclient.grpc as grpcclient
from said import row

address, model, source, target = sys.argv[1:]
given = dict(np.load(source))
order = given.pop("order")
at = dict.fromkeys(range(len(given)), 0)
answers = queue.Queue()
client = grpcclient.InferenceServerClient(address)
client.start_stream(callback=lambda result, error: answers.put((result, error)))
for number, (sequence, steps) in enumerate(order.tolist()):
    x, begin = given[f"x{sequence}"], at[sequence]
    at[sequence] += steps
    client.async_stream_infer(
        model,
        row(x[begin : begin + steps]),
        request_id=f"{sequence}/{number}",
        sequence_id=sequence + 1 if sequence % 2 else f"sequence-{sequence}",
        sequence_start=begin == 0,
        sequence_end=at[sequence] == len(x),
        outputs=[grpcclient.InferRequestedOutput("output")],
    )
out = {sequence: [] for sequence in at}
numbers = {sequence: [] for sequence in at}
for _ in range(len(order)):
    result, error = answers.get(timeout=60)
    assert error is None, error
    response = result.get_response()
    sequence, number = map(int, response.id.split("/"))
    assert response.parameters["triton_final_response"].bool_param
    out[sequence].append(result.as_numpy("output")[:, 0])
    numbers[sequence].append(number)
client.stop_stream()
assert answers.empty()
assert all(told == sorted(told) for told in numbers.values()), "a sequence's answers came out of order"
np.savez(target, **{f"y{sequence}": np.concatenate(parts) for sequence, parts in out.items()})
