"""Transfers: a batch's input to the device, and what it gave back to the host."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = Sequence[torch.Tensor]


class PendingTransfer(Protocol):
    """Tensors on their way to the host."""

    def wait(self) -> Tensors:
        """The tensors, on the host, once they are there.

        Raises:
            RuntimeError: the device failed.
        """
        ...


class Transfer(Protocol):
    """The way between host and device."""

    is_asynchronous: bool
    """Whether what is computed between the two is only begun when their calls return."""

    def to_device(self, array: Array) -> torch.Tensor:
        """The array, on the device, for what is computed next."""
        ...

    def to_host(self, tensors: Tensors) -> PendingTransfer:
        """Sends off what is computed by now."""
        ...


def transfer_of(device: torch.device) -> Transfer:
    """The way to a device and back."""
    return Staged(device) if device.type == "cuda" else Direct()


class Direct:
    """The device is the host: nothing moves."""

    is_asynchronous = False

    def to_device(self, array: Array) -> torch.Tensor:
        """See `Transfer`."""
        return torch.from_numpy(array)

    def to_host(self, tensors: Tensors) -> PendingTransfer:
        """See `Transfer`."""
        return _There(tensors)


class _There(NamedTuple):
    tensors: Tensors

    def wait(self) -> Tensors:
        return self.tensors


class Staged:
    """Copies through page-locked memory on streams of their own, so that they overlap with what is computed.

    torch keeps page-locked memory and gives it out again once the copies that use it are done (CachingHostAllocator),
    and memory of the device likewise after `record_stream`.
    """

    is_asynchronous = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def to_device(self, array: Array) -> torch.Tensor:
        """See `Transfer`."""
        source = torch.from_numpy(array)
        locked = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        locked.copy_(source)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            tensor = locked.to(self._device, non_blocking=True)
        computing.wait_stream(self._up)
        tensor.record_stream(computing)
        return tensor

    def to_host(self, tensors: Tensors) -> PendingTransfer:
        """See `Transfer`."""
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        locked = []
        with torch.cuda.stream(self._down):
            for tensor in tensors:
                locked.append(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True))
                locked[-1].copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._down)
        return _Locked(locked, done)


class _Locked:
    def __init__(self, tensors: Tensors, done: torch.cuda.Event) -> None:
        self._tensors = tensors
        self._done = done

    def wait(self) -> Tensors:
        self._done.synchronize()
        return self._tensors
