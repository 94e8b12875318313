"""A load generator for any running server: `elman-server bench`. It imports no torch and drives raw stubs, since it is
the server that is measured."""
