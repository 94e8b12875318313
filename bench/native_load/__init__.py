"""The load generator in C++: a client that takes less of its processor than the server of its own."""
