"""The native door: gRPC's C++ server inside the Python process. `elman_server` says what the calls mean."""

from elman_native._native import Door

__all__ = ["Door"]
