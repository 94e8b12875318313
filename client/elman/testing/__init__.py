"""A fake elman server for tests: in process, on a free loopback port, without torch.

server = elman.testing.FakeServer([elman.testing.FakeModel("sum", input_size=2)])
with server as address, elman.Client(address) as client:
    ...
    server.cut()  # and what else can go wrong
"""

from elman.testing._model import FakeModel, Step, leaky_integrator
from elman.testing._server import FakeServer

__all__ = ["FakeModel", "FakeServer", "Step", "leaky_integrator"]

for _public in (FakeModel, FakeServer):
    _public.__module__ = __name__
del _public
