"""Any order of starts, steps and ends, all in flight together, against a model of what sequences are."""

from typing import Any

import numpy as np
import pytest
from oip_requests import request, stream_of, tensor
from served import Serve
from toys import Array, assert_near, random_input, toy

REQUESTS = 400
IDS: tuple[int | str, ...] = (1, 2, "1", "two")


class Lives:
    """What is to be told of each request, in the words of torch on whole sequences."""

    def __init__(self) -> None:
        self._steps: dict[int | str, list[Array]] = {}

    def expect(self, sequence_id: int | str, x: Array, *, start: bool, end: bool) -> Array | None:
        """The outputs; None where the request must be refused."""
        if start:
            self._steps[sequence_id] = []
        if sequence_id not in self._steps:
            return None
        self._steps[sequence_id].append(x)
        whole = np.concatenate(self._steps[sequence_id])
        if end:
            del self._steps[sequence_id]
        return toy("gru").run(whole)[0][-len(x) :]


@pytest.mark.parametrize("seed", range(3))
async def test_each_request_is_answered_as_if_it_were_alone(serve: Serve, seed: int) -> None:
    served, rng, lives = await serve("gru"), np.random.default_rng(seed), Lives()
    asked: list[Any] = []
    expected: dict[str, Array | None] = {}
    lines: dict[str, str] = {}
    for number in range(REQUESTS):
        sequence_id = IDS[rng.integers(len(IDS))]
        x = random_input(toy("gru").spec, rng, int(rng.choice([1, 2, 40])))
        start, end = (bool(flag) for flag in rng.random(2) < 0.2)
        flags = {"sequence_start": start, "sequence_end": end}
        asked.append(request("gru", x, id=str(number), sequence_id=sequence_id, **flags))
        expected[str(number)] = lives.expect(sequence_id, x, start=start, end=end)
        lines[str(number)] = repr(sequence_id)
    told: dict[str, list[int]] = {}
    async with stream_of(served) as stream:
        await stream.send(*asked)
        for _ in asked:
            read = await stream.read()
            name = read.infer_response.id
            told.setdefault(lines[name], []).append(int(name))
            want = expected.pop(name)
            if want is None:
                assert "START flag" in read.error_message
            else:
                assert_near(tensor(read.infer_response)[:, 0], want)
    assert not expected
    assert all(numbers == sorted(numbers) for numbers in told.values())
    await served.assert_all_released()
