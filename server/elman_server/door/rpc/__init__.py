"""A gRPC server that knows no method: calls whichever way they come, their handlers, addresses, certificates."""
