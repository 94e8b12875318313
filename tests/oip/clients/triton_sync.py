"""Synchronous calls, as anyone writes them for Triton. Arguments: address, file of arrays, file for arrays."""

import sys

import numpy as np
import tritonclient.grpc as grpcclient
from said import row, tensor

address, source, target = sys.argv[1:]
given = dict(np.load(source))
client = grpcclient.InferenceServerClient(address)
out = {}


def infer(model, inputs, **named):
    return client.infer(model, inputs, **named)


batch = infer("lstm", [tensor(given["batch"]), tensor(given["h_0"], "h_0"), tensor(given["c_0"], "c_0")])
out |= {f"batch_{name}": batch.as_numpy(name) for name in ("output", "h_n", "c_n")}
out["both_ways"] = infer("bi_lstm", [tensor(given["batch"])]).as_numpy("output")
out["tokens"] = infer("tokens", [tensor(given["tokens"], datatype="INT64")]).as_numpy("output")
half = grpcclient.InferInput("input", list(given["half"].shape), "FP16")
half.set_data_from_numpy(given["half"])
out["half"] = infer("gru", [half]).as_numpy("output")

named = infer("lstm", [tensor(given["batch"])], outputs=[grpcclient.InferRequestedOutput(n) for n in ("c_n", "output")])
out["named"] = np.array([o.name for o in named.get_response().outputs])
out["named_c_n"] = named.as_numpy("c_n")

x = given["sequence"]
for label, sequence_id in (("integer", 5), ("string", "5")):
    steps = [
        infer(
            "gru", row(x[at : at + 1]), sequence_id=sequence_id, sequence_start=at == 0, sequence_end=at == len(x) - 1
        )
        for at in range(len(x))
    ]
    out[label] = np.concatenate([step.as_numpy("output") for step in steps])
    if label == "integer":  # begun, and left running while "5" begins
        infer("gru", row(x[:3]), sequence_id=5, sequence_start=True)
out["integer_goes_on"] = infer("gru", row(x[3:]), sequence_id=5).as_numpy("output")
out["begun_anew"] = infer("gru", row(x), sequence_id=5, sequence_start=True, sequence_end=True).as_numpy("output")
out["one_request"] = infer("gru", row(x), sequence_id="once", sequence_start=True, sequence_end=True).as_numpy("output")

for algorithm in ("gzip", "deflate"):
    compressed = infer("lstm", [tensor(given["batch"])], compression_algorithm=algorithm)
    out[f"compressed_{algorithm}"] = compressed.as_numpy("output")

answers = []
for _ in range(8):
    client.async_infer("lstm", [tensor(given["batch"])], callback=lambda result, error: answers.append((result, error)))
handles = [client.async_infer("lstm", [tensor(given["batch"])], callback=lambda result, error: None)]
while len(answers) < 8:
    handles[0].get_result() if hasattr(handles[0], "get_result") else None
out["async_infer"] = np.stack([result.as_numpy("output") for result, error in answers])

last = infer("gru", row(x), sequence_id=9, sequence_start=True, priority=3, timeout=60_000_000)
out["timed"] = last.as_numpy("output")
if "parameters" in grpcclient.InferenceServerClient.infer.__code__.co_varnames:
    parameters = {"return": "last", "position": len(x)}
    again = infer("gru", row(x), sequence_id=9, parameters=parameters).get_response()
    out["position"] = np.array(again.parameters["position"].int64_param)
    out["last_shape"] = np.array(again.outputs[0].shape)
np.savez(target, **out)
