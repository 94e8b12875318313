"""gRPC's server on the event loop: calls, their messages and statuses, straight from gRPC's completion queue.

What grpc.aio does for a message (a future and a task's turn each way, a wake-up through a socket) costs twice what gRPC
itself does (bench/README.md). Here a message is a callback, and all that came is handled in one turn of the loop. This
is built on grpcio's core module (`core.py`), on which its own servers are built.
"""
