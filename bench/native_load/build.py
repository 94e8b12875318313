"""Builds the load generator, where there is what that takes: g++, pkg-config, protoc, gRPC's and protobuf's headers."""

import shutil
import subprocess
from pathlib import Path

import google.rpc

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "native_load"
PROTOS = ("inference", "sessions", "tensor")
LIBRARIES = ("grpc++", "protobuf")
NEEDED = "the client in C++ takes g++ pkg-config libgrpc++-dev protobuf-compiler-grpc (Debian), and one is not here"


def build() -> Path | None:
    """The program, built if it is older than what it is made of; None where it cannot be built here."""
    plugin = shutil.which("grpc_cpp_plugin")
    tools = [shutil.which(name) for name in ("g++", "pkg-config", "protoc")]
    if plugin is None or None in tools or subprocess.run(["pkg-config", "--exists", *LIBRARIES]).returncode:
        return None
    program = FOLDER / "native_load"
    sources = [*HERE.glob("*.cc"), *HERE.glob("*.h"), *(ROOT / "proto/elman/v1").glob("*.proto")]
    if not program.exists() or max(path.stat().st_mtime for path in sources) > program.stat().st_mtime:
        _build(program, plugin)
    return program


def _build(program: Path, plugin: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    common = Path(next(iter(google.rpc.__path__))).parents[1]  # google/rpc/status.proto comes with the Python packages
    protos = [f"elman/v1/{name}.proto" for name in PROTOS]
    paths = (f"-I{ROOT / 'proto'}", f"-I{common}")
    made = (f"--cpp_out={FOLDER}", f"--grpc_out={FOLDER}", f"--plugin=protoc-gen-grpc={plugin}")
    _run("protoc", *paths, *made, *protos)
    _run("protoc", *paths, f"--cpp_out={FOLDER}", "google/rpc/status.proto")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", *LIBRARIES], capture_output=True, text=True, check=True)
    generated = sorted(map(str, FOLDER.rglob("*.cc")))
    own = sorted(map(str, HERE.glob("*.cc")))
    warnings = ("-Wall", "-Wextra", "-Werror")
    _run(
        "g++",
        "-std=c++17",
        "-O2",
        *warnings,
        f"-I{FOLDER}",
        *own,
        *generated,
        "-o",
        str(program),
        *flags.stdout.split(),
    )


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
