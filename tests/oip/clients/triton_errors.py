"""What goes wrong, and how it is told. Arguments: address. Prints a JSON object: case -> [code, message]."""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as grpcclient
from said import error_of, tensor

client = grpcclient.InferenceServerClient(sys.argv[1])
x = np.zeros((4, 1, 3), np.float32)
client.infer("gru", [tensor(x)], sequence_id="ended", sequence_start=True, sequence_end=True)
short = grpcclient.InferInput("input", [4, 1, 3], "FP32")
short.set_data_from_numpy(x)
short._raw_content = short._raw_content[:-1]
nan = np.full((4, 1, 3), np.nan, np.float32)


def infer(model="gru", inputs=None, **named):
    return error_of(client.infer, model, [tensor(x)] if inputs is None else inputs, **named)


def on_stream(headers=None, requests=(None, None)):
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=headers)
    told = []
    for sequence_id in requests:
        named = {"sequence_id": sequence_id} if sequence_id else {}
        try:
            client.async_stream_infer("gru", [tensor(x)], request_id="mine", **named)
        except Exception as error:  # noqa: BLE001 - what the client does once its stream has ended
            told.append(["ENDED", str(error)])
            continue
        _, error = answers.get(timeout=60)
        told.append(["OK", ""] if error is None else [str(error.status()).removeprefix("StatusCode."), error.message()])
    client.stop_stream()
    return told


cases = {
    "unknown model": infer("nothing"),
    "unknown version": infer(model_version="9"),
    "unknown sequence": infer(sequence_id=404),
    "unknown string sequence": infer(sequence_id="never"),
    "ended sequence": infer(sequence_id="ended"),
    "batch on a sequence": infer(inputs=[tensor(np.zeros((4, 2, 3), np.float32))], sequence_id=1, sequence_start=True),
    "dtype": infer(inputs=[tensor(np.zeros((4, 1, 3), np.int64), datatype="INT64")]),
    "float tokens": infer("tokens", inputs=[tensor(np.zeros((4, 1), np.float32))]),
    "token out of range": infer("tokens", inputs=[tensor(np.full((4, 1), 99), datatype="INT64")]),
    "rank": infer(inputs=[tensor(np.zeros((4, 3), np.float32))]),
    "width": infer(inputs=[tensor(np.zeros((4, 1, 7), np.float32))]),
    "no steps": infer(inputs=[tensor(np.zeros((0, 1, 3), np.float32))]),
    "size": infer(inputs=[short]),
    "missing input": infer(inputs=[]),
    "unknown input": infer(inputs=[tensor(x), tensor(x, "mask")]),
    "unknown output": infer(outputs=[grpcclient.InferRequestedOutput("logits")]),
    "classification": infer(outputs=[grpcclient.InferRequestedOutput("output", class_count=2)]),
    "not finite": infer(inputs=[tensor(nan)]),
    "half a state": infer("lstm", inputs=[tensor(x), tensor(np.zeros((2, 1, 5), np.float32), "h_0")]),
    "state of other rows": infer(inputs=[tensor(x), tensor(np.zeros((2, 3, 5), np.float32), "h_0")]),
    "state in the middle": infer(inputs=[tensor(x), tensor(np.zeros((2, 1, 5), np.float32), "h_0")], sequence_id=3),
    "sequence both ways": infer("bi_lstm", sequence_id=4, sequence_start=True),
    "shared memory": error_of(client.register_system_shared_memory, "a", "/a", 8),
    "shared memory status": error_of(client.get_system_shared_memory_status),
    "device shared memory": error_of(client.get_cuda_shared_memory_status),
    "trace settings": error_of(client.get_trace_settings),
    "log settings": error_of(client.get_log_settings),
    "load with a config": error_of(client.load_model, "gru", config="{}"),
    "load unknown": error_of(client.load_model, "nothing"),
    "unload unknown": error_of(client.unload_model, "nothing"),
    "config of unknown": error_of(client.get_model_config, "nothing"),
    "statistics of unknown": error_of(client.get_inference_statistics, "nothing"),
}
cases["stream, first"], cases["stream, then"] = on_stream(requests=(404, None))
cases["ending stream, first"], cases["ending stream, then"] = on_stream({"triton_grpc_error": "true"}, (404, None))
print(json.dumps(cases))
