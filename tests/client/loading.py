"""A torch DataLoader whose two workers have clients; `python loading.py ADDRESS closed|open`. Prints two epochs."""

import os
import sys

from forking import step_once
from torch.utils.data import DataLoader, Dataset

import elman


class Outputs(Dataset[float]):
    """Each item is the first output of a session of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: elman.Client | None = None

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> float:
        if self._client is None:
            self._client = elman.Client(self._address)
        return step_once(self._client)


if __name__ == "__main__":
    client = elman.Client(sys.argv[1])
    step_once(client)
    if sys.argv[2] == "closed":
        client.close()
    for _ in range(2):
        print([float(batch) for batch in DataLoader(Outputs(sys.argv[1]), num_workers=2)])
    sys.stdout.flush()
    os._exit(0)
