"""Metadata, configuration, statistics and the repository, as real clients read them."""

import json
from pathlib import Path
from typing import Any

import pytest
from client_venvs import ClientVenv

CLIENTS = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def said(triton: ClientVenv, address: str) -> Any:
    """What a client was told."""
    return json.loads(triton.run(CLIENTS / "triton_models.py", address))


def test_the_server_and_its_models_are_live_and_ready(said: Any) -> None:
    assert said["live"]
    assert said["ready"]
    assert said["model_ready"]
    assert said["version_ready"]
    assert not said["other_version_ready"]
    assert not said["unknown_ready"]


def test_extensions_are_those_that_are_there(said: Any) -> None:
    assert said["server"]["name"] == "elman"
    assert "sequence" in said["server"]["extensions"]
    assert not [e for e in said["server"]["extensions"] if "shared_memory" in e or e in ("trace", "logging")]


def test_metadata_shows_variable_dimensions_as_minus_one(said: Any) -> None:
    metadata = said["metadata"]
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "input", "datatype": "INT64", "shape": ["-1", "-1"]},
    ]
    assert metadata["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": ["-1", "-1", "4"]},
        {"name": "h_n", "datatype": "FP32", "shape": ["1", "-1", "5"]},
    ]


def test_the_configuration_is_that_of_a_sequence_model(said: Any) -> None:
    config = said["config"]
    assert config["sequence_batching"]["max_sequence_idle_microseconds"] == "3600000000"
    assert config["sequence_batching"]["oldest"]["max_candidate_sequences"] == 65536
    assert not config["model_transaction_policy"].get("decoupled")
    assert config.get("max_batch_size", 0) == 0
    widths = {tensor["name"]: tensor["dims"][-1] for tensor in config["input"] + config["output"]}
    assert widths == {"input": "3", "output": "2", "h_n": "2", "c_n": "5"}


def test_a_bidirectional_model_is_no_sequence_model(said: Any) -> None:
    assert "sequence_batching" not in said["config_both_ways"]


def test_statistics_count_what_was_asked_and_how_long_it_took(said: Any) -> None:
    before, after = said["before"], said["after"]

    def grown(part: str, of: str = "count") -> int:
        return _number(after, part, of) - _number(before, part, of)

    assert grown("success") == 5
    assert grown("fail") == 1
    assert grown("queue") == grown("compute_infer") == 5
    assert grown("compute_infer", "ns") > 0
    assert grown("success", "ns") >= grown("compute_infer", "ns") + grown("queue", "ns") > 0
    assert int(after["inference_count"]) - int(before.get("inference_count", 0)) == 5
    assert int(after["execution_count"]) - int(before.get("execution_count", 0)) == 5
    assert int(after["last_inference"]) > int(before.get("last_inference", 0))
    assert [batch["batch_size"] for batch in after["batch_stats"]] == ["1"]


def test_statistics_of_all_models_name_each(said: Any) -> None:
    assert said["all"] == sorted(said["all"])
    assert "bi_lstm" in said["all"]


def test_a_model_is_unloaded_and_loaded_again(said: Any) -> None:
    assert not said["unloaded"]
    assert said["loaded"]
    assert {m["state"] for m in said["index"]} == {"READY"}
    states = {m["name"]: m["state"] for m in said["index_without"]}
    assert states.pop("rnn_relu") == "UNAVAILABLE"
    assert set(states.values()) == {"READY"}


def _number(statistics: Any, part: str, of: str) -> int:
    return int(statistics["inference_stats"].get(part, {}).get(of, 0))
