"""The native door: gRPC's C++ server inside the Python process. `elman_server` says what the calls mean."""

from elman_native._native import Door, FrameBatch

__all__ = ["Door", "FrameBatch"]
