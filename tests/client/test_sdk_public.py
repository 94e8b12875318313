"""What is public, and what importing it costs."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import elman
import elman.testing


@pytest.mark.parametrize("package", [elman, elman.testing])
def test_all_lists_what_the_package_binds(package):
    tree = ast.parse(Path(package.__file__).read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(imported) == sorted(package.__all__)
    assert package.__all__ == sorted(package.__all__, key=str)


@pytest.mark.parametrize("package", [elman, elman.testing])
def test_public_classes_say_they_are_from_where_they_are_imported(package):
    classes = [value for name in package.__all__ if inspect.isclass(value := getattr(package, name))]
    assert classes
    assert {cls.__module__ for cls in classes} == {package.__name__}


def test_every_error_is_public():
    errors = importlib.import_module("elman._shared.errors")
    raised = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert raised <= set(elman.__all__)
    assert all(name in errors.__doc__ for name in raised)


def test_every_public_method_is_documented():
    for name in elman.__all__:
        cls = getattr(elman, name)
        if inspect.isclass(cls):
            assert cls.__doc__
            for method, value in vars(cls).items():
                if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{method}"


def test_synchronous_and_asynchronous_classes_offer_the_same():
    for name in ("Client", "Model", "Session", "SessionPool"):
        mine, theirs = getattr(elman, name), getattr(elman, f"Async{name}")
        assert {key for key in dir(mine) if key[0] != "_"} == {key for key in dir(theirs) if key[0] != "_"}
        for method in (key for key in dir(mine) if key[0] != "_" and inspect.isfunction(getattr(mine, key))):
            mine_parameters = list(inspect.signature(getattr(mine, method)).parameters)
            assert mine_parameters == list(inspect.signature(getattr(theirs, method)).parameters)


def test_importing_brings_no_torch_and_no_server():
    code = "import elman, elman.testing, elman.wire, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "grpc", "elman"} <= set(loaded)
    assert not {"torch", "elman_server", "elman_models", "pydantic", "safetensors"} & set(loaded)
