"""What a client is given: targets, secrets, numbers."""

import math
from concurrent import futures

import grpc
import pytest

import elman
from elman._shared.target import DEFAULT_PORT, Target
from elman.testing import FakeModel
from elman.testing._server_state import ServerState
from elman.testing._services import add_services

CLIENTS = [elman.Client, elman.AsyncClient]


@pytest.mark.parametrize(
    ("given", "address", "is_local"),
    [
        ("localhost", "localhost:8470", True),
        ("localhost:1", "localhost:1", True),
        ("127.0.0.5", "127.0.0.5:8470", True),
        ("models.example.com", "models.example.com:8470", False),
        ("models_1:65535", "models_1:65535", False),
        ("10.0.0.1:50051", "10.0.0.1:50051", False),
        ("::1", "[::1]:8470", True),
        ("[::1]", "[::1]:8470", True),
        ("[::1]:9", "[::1]:9", True),
        ("2001:db8::7", "[2001:db8::7]:8470", False),
        ("unix:/run/elman.sock", "unix:/run/elman.sock", True),
        ("unix:///run/elman.sock", "unix:///run/elman.sock", True),
        ("unix-abstract:elman", "unix-abstract:elman", True),
        ("dns:///elman", "dns:///elman:8470", False),
        ("dns:elman:1", "dns:elman:1", False),
        ("dns:///localhost", "dns:///localhost:8470", True),
        ("dns://8.8.8.8/localhost:7", "dns://8.8.8.8/localhost:7", False),
        ("ipv4:10.0.0.1:80,10.0.0.2:80", "ipv4:10.0.0.1:80,10.0.0.2:80", False),
        ("xds:///elman", "xds:///elman", False),
    ],
)
def test_a_target_is_what_grpc_takes_with_our_port_where_none_is_named(given, address, is_local):
    assert Target.parse(given) == Target(address, is_local)


@pytest.mark.parametrize(
    "given",
    [
        *("", " ", ":8470", "host:", "host:x", "host:0", "host:65536", "host:-1", "a b", "[::1", "[::1]8", "1:2:3"),
        *("unix:", "http://localhost:8470", "host/path", "ftp:x:y", "h\nost", "host:\u0661"),
    ],
)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_bad_target_is_refused_with_what_was_expected(client, given):
    with pytest.raises(elman.InvalidInputError, match="target: expected"):
        client(given)


@pytest.mark.parametrize("given", [None, 8470, b"localhost", ("localhost", 8470)])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_target_of_the_wrong_type_is_refused_with_what_was_expected(client, given):
    with pytest.raises(TypeError, match="target: expected"):
        client(given)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_token_does_not_travel_readable(client):
    with pytest.raises(elman.InvalidInputError, match="tls=True, or insecure_token=True") as caught:
        client("models.example.com", token="s3cret")
    assert "s3cret" not in str(caught.value)
    for options in ({"tls": True}, {"insecure_token": True}):
        client("models.example.com", token="s3cret", **options)
    for target in ("localhost", "127.0.0.1:1", "[::1]:1", "unix:/x"):
        client(target, token="s3cret")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout", value) for value in (0, -1, math.nan, math.inf, 1e300)),
        *(("max_frame_bytes", value) for value in (0, -1, 255, (64 << 20) + 1)),
        *(("token", value) for value in ("", "a\nb", "ä")),
        *(("metadata", value) for value in ([("Upper", "x")], [("a b", "x")], [("grpc-x", "x")], [("a", "\n")])),
    ],
)
def test_arguments_out_of_range_are_refused_with_what_was_expected(client, name, value):
    with pytest.raises(elman.InvalidInputError, match=f"{name}.*: expected"):
        client("localhost", **{name: value})


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout", value) for value in ("1", True, [1])),
        *(("max_frame_bytes", value) for value in (1e6, "1", True, None)),
        *(("token", value) for value in (b"x", 5)),
        *(("metadata", value) for value in ({"a": "b"}, "ab", [("a", 5)], [("a-bin", "x")], [("a",)], None)),
        *(("options", value) for value in ([("a", 1.5)], {"a": 1}, "ab", None)),
        ("retry", 3),
        ("tls", "yes"),
        ("insecure_token", 1),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_with_what_was_expected(client, name, value):
    with pytest.raises(TypeError, match=f"{name}: expected"):
        client("localhost", **{name: value})


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf])
def test_a_steps_timeout_out_of_range_is_refused_and_nothing_is_sent(client, server, timeout):
    model = client.model("sum")
    with model.session() as session, model.sessions(2) as pool:
        for call in (
            lambda: session.step([1, 0], timeout=timeout),
            lambda: session.stream([[1, 0]], timeout=timeout),
            lambda: pool.step([[1, 0]] * 2, timeout=timeout),
            lambda: model.infer([[1, 0]], timeout=timeout),
        ):
            with pytest.raises(elman.InvalidInputError, match="timeout: expected more than 0"):
                call()
    assert not server.frame_rows


@pytest.mark.parametrize("host", ["unix:{}/elman.sock", "[::1]:{port}", "localhost:{port}", "dns:///localhost:{port}"])
def test_a_server_is_reached_at_each_kind_of_address(tmp_path, host):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_services(server, ServerState({("sum", "1"): FakeModel("sum")}, None))
    port = 0
    if host.startswith("unix:"):
        target = host.format(tmp_path)
        server.add_insecure_port(target)
    else:
        port = server.add_insecure_port("[::1]:0" if host.startswith("[") else "localhost:0")
        target = host.format(port=port)
    server.start()
    with elman.Client(target) as client:
        assert [info.name for info in client.models()] == ["sum"]
    server.stop(None).wait()


def test_a_target_without_a_port_reaches_the_servers_default():
    assert Target.parse("localhost").address.endswith(f":{DEFAULT_PORT}")
    assert DEFAULT_PORT == 8470
