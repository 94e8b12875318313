"""Where nobody asks for every step's output, the last ones alone are computed; the answers are the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepped_engine import Asked, SteppedEngine
from toys import assert_near, pack_rows, random_input, toy

from elman_models import Stack
from elman_server.exchange.frames import Want

TOY = toy("tokens")
"""With an embedding and a head."""


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(list(Want))), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_each_row_gets_what_torch_gives_whatever_its_neighbours_ask_for(rows: list[Any], seed: int) -> None:
    stepped, rng, sink = SteppedEngine(TOY, max_slice=4), np.random.default_rng(seed), Asked()
    handles = stepped.open(*map(str, range(len(rows)))).handles
    given_rows = [(random_input(TOY.spec, rng, length), want) for length, want in rows]
    frames = [
        stepped.submit(stepped.frame(handles[k : k + 1], x, [len(x)], sink, want=want))
        for k, (x, want) in enumerate(given_rows)
    ]
    told: dict[int, list[Any]] = {frame.frame_id: [] for frame in frames}
    deliver = sink.on_result
    sink.on_result = lambda frame, answer: (told[frame.frame_id].append(answer.output), deliver(frame, answer))[1]  # type: ignore[method-assign, assignment]
    stepped.drain()
    for frame, (x, want) in zip(frames, given_rows, strict=True):
        outputs = [output for output in told[frame.frame_id] if output is not None and len(output)]
        whole = TOY.run(x)[0]
        if want is Want.NONE:
            assert not outputs
        else:
            assert_near(np.concatenate(outputs), whole if want is Want.ALL else whole[-1:])
    stepped.assert_nothing_left()


@pytest.mark.parametrize(("wants", "projected"), [("LN", 2), ("LA", 8), ("NN", 2)])
def test_the_head_is_run_on_every_step_only_where_someone_asks_for_that(
    monkeypatch: pytest.MonkeyPatch, wants: str, projected: int
) -> None:
    stepped, sink, rng, seen = SteppedEngine(TOY), Asked(), np.random.default_rng(0), []
    stack = stepped.runtime.stack
    assert isinstance(stack, Stack)
    project = stack._project
    monkeypatch.setattr(stack, "_project", lambda output: (seen.append(len(output)), project(output))[1])
    handles = stepped.open("a", "b").handles
    for k, want in enumerate(wants):
        x = pack_rows([random_input(TOY.spec, rng, 4)])
        of = {"A": Want.ALL, "L": Want.LAST, "N": Want.NONE}[want]
        stepped.submit(stepped.frame(handles[k : k + 1], x, [4], sink, want=of))
    stepped.drain()
    assert seen == [projected]
    value = stepped.metrics.registry.get_sample_value
    labels = {"model": "tokens", "version": TOY.spec.version}
    assert value("elman_session_steps_total", labels) == 8
    assert value("elman_padded_steps_total", labels) == 0


def test_a_last_output_that_is_asked_for_again_is_the_same() -> None:
    stepped, rng, sink = SteppedEngine(TOY, max_slice=4), np.random.default_rng(0), Asked()
    handles = stepped.open("a", "b").handles
    lengths = [10, 3]
    x = pack_rows([random_input(TOY.spec, rng, length) for length in lengths])
    for _ in range(2):
        stepped.submit(stepped.frame(handles, x, lengths, sink, positions=[0, 0], want=Want.LAST, want_state=True))
        stepped.drain()
    answers: dict[Any, Any] = {}
    for answer in sink.answers:
        for i, row in enumerate(answer.finished.tolist()):
            assert answer.output is not None
            answers.setdefault(row, []).append(answer.output[i].tolist())
    assert all(first == again for first, again in answers.values())
