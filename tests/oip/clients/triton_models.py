"""What tools ask of a server. Arguments: address. Prints a JSON object."""

import contextlib
import json
import sys

import numpy as np
import tritonclient.grpc as grpcclient
from said import row
from tritonclient.utils import InferenceServerException

client = grpcclient.InferenceServerClient(sys.argv[1])
x = np.zeros((3, 3), np.float32)


def statistics():
    return client.get_inference_statistics("rnn_tanh", as_json=True)["model_stats"][0]


said = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("gru"),
    "version_ready": client.is_model_ready("gru", "1"),
    "other_version_ready": client.is_model_ready("gru", "2"),
    "unknown_ready": client.is_model_ready("nothing"),
    "server": client.get_server_metadata(as_json=True),
    "metadata": client.get_model_metadata("tokens", as_json=True),
    "config": client.get_model_config("lstm_proj", as_json=True)["config"],
    "config_both_ways": client.get_model_config("bi_lstm", as_json=True)["config"],
    "before": statistics(),
}
for at in range(5):
    client.infer("rnn_tanh", row(x), sequence_id=1, sequence_start=at == 0)
with contextlib.suppress(InferenceServerException):
    client.infer("rnn_tanh", row(x), sequence_id=2)
said["after"] = statistics()
said["all"] = [s["name"] for s in client.get_inference_statistics(as_json=True)["model_stats"]]
said["index"] = client.get_model_repository_index(as_json=True)["models"]
client.unload_model("rnn_relu")
said["unloaded"] = client.is_model_ready("rnn_relu")
said["index_without"] = client.get_model_repository_index(as_json=True)["models"]
client.load_model("rnn_relu")
said["loaded"] = client.is_model_ready("rnn_relu")
print(json.dumps(said))
