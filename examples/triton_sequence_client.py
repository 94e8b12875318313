"""Two sequences over one stream, as written for Triton's sequence batcher with tritonclient[grpc].

Nothing here is elman's own: on Triton's `--url` it drives a stateful model, and on elman's the same.

    pip install "tritonclient[grpc]"
    python triton_sequence_client.py --url localhost:8470 --model lstm
"""

import argparse
import json
import queue
import sys
from functools import partial

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import triton_to_np_dtype


class Answers:
    """What the stream's callback leaves for the main thread."""

    def __init__(self):
        self.completed = queue.Queue()


def on_answer(answers, result, error):
    answers.completed.put((result, error))


def make_steps(metadata, steps, seed):
    """Random input of the model's first input: ids for a token model, else floats. [steps, features...]"""
    tensor, rng = metadata.inputs[0], np.random.default_rng(seed)
    features = [int(size) for size in tensor.shape[2:]]
    if tensor.datatype == "INT64":
        return rng.integers(10, size=(steps, *features))
    return rng.standard_normal((steps, *features)).astype(triton_to_np_dtype(tensor.datatype))


def send(client, model, datatype, sequence_id, data):
    """One request for each time step."""
    for at, step in enumerate(data):
        tensor = grpcclient.InferInput("input", [1, 1, *step.shape], datatype)
        tensor.set_data_from_numpy(step.reshape(1, 1, *step.shape))
        client.async_stream_infer(
            model_name=model,
            inputs=[tensor],
            outputs=[grpcclient.InferRequestedOutput("output")],
            request_id=f"{sequence_id}_{at}",
            sequence_id=sequence_id,
            sequence_start=(at == 0),
            sequence_end=(at == len(data) - 1),
        )
        yield


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-u", "--url", default="localhost:8001")
    parser.add_argument("-m", "--model", default="simple_sequence")
    parser.add_argument("-n", "--steps", type=int, default=12)
    parser.add_argument("--json", action="store_true", help="print inputs and outputs as JSON")
    given = parser.parse_args()

    answers = Answers()
    sequences = {1007: None, 1008: None}
    outputs = {sequence_id: [] for sequence_id in sequences}
    with grpcclient.InferenceServerClient(given.url) as client:
        metadata = client.get_model_metadata(given.model)
        for seed, sequence_id in enumerate(sequences):
            sequences[sequence_id] = make_steps(metadata, given.steps, seed)
        client.start_stream(callback=partial(on_answer, answers))
        datatype = metadata.inputs[0].datatype
        senders = [send(client, given.model, datatype, *sequence) for sequence in sequences.items()]
        for _ in zip(*senders, strict=True):  # turn by turn
            pass
        for _ in range(len(sequences) * given.steps):
            result, error = answers.completed.get(timeout=30)
            if error is not None:
                sys.exit(f"inference failed: {error}")
            sequence_id = int(result.get_response().id.split("_")[0])
            outputs[sequence_id].append(result.as_numpy("output")[0, 0])
        client.stop_stream()

    if given.json:
        print(
            json.dumps([{"input": sequences[i].tolist(), "output": np.stack(outputs[i]).tolist()} for i in sequences])
        )
        return
    for sequence_id, steps in outputs.items():
        for at, output in enumerate(steps):
            print(f"sequence {sequence_id} step {at}: {np.array2string(output[:4], precision=4)}")


if __name__ == "__main__":
    main()
