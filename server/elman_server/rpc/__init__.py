"""How calls come and go: gRPC's server behind one small interface, native in C++ or plain by grpc.aio."""
