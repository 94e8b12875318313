"""How calls come and go: gRPC's server behind one small interface, by its C++ library (native) or by grpc.aio (plain)."""
