"""The seam between door and engine: frames in and results out, as columns.

Touched here: NumPy arrays and plain values. No gRPC or protobuf type gets past it, no torch comes before it; it
imports no room above it.
"""
