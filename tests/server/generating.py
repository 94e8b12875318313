"""What a machine has sessions generate, and what must come of it: the same sampler on what torch.nn gives."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from expected_sessions import ExpectedSession
from generated_requests import GenerationRequest
from toys import FED, Array, Toy, assert_near

from elman import wire
from elman.v1 import inference_pb2
from elman_models.generation.sampling import SamplingRules, sample
from elman_server import errors as e
from elman_server.exchange.want import Want, asked_back

GENERATING = ("tokens", FED.name)
"""The toys that can be fed what they give."""


@dataclass
class Generated:
    """What a caller was told."""

    steps: list[Any] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    error: e.ServiceError | None = None

    def add(self, steps: Iterable[Any], log_probs: Iterable[float]) -> None:
        """More of it."""
        self.steps.extend(steps)
        self.log_probs.extend(log_probs)


def request_of(toy: Toy, session: ExpectedSession, prompt: Array | None, wanted: GenerationRequest) -> Any:
    """As it is sent, but for the names of this server."""
    sampling = inference_pb2.Sampling(seed=wanted.seed, temperature=float(not wanted.greedy))
    request = inference_pb2.GenerateRequest(
        model=toy.spec.name,
        session_id=session.id,
        position=session.position,
        max_steps=wanted.steps,
        sampling=sampling,
    )
    if prompt is not None:
        wire.fill_tensor(request.input, prompt)
    return request


def check_refused(toy: Toy, session: ExpectedSession, prompt: Array | None, error: e.ServiceError) -> None:
    """Nothing was generated, and that is right."""
    if toy.spec.name not in GENERATING:
        assert isinstance(error, e.CannotGenerate)
    else:
        assert isinstance(error, e.InvalidInput)
        assert prompt is None
        gave = session.gave
        assert gave is None or asked_back(gave.kind)[0] is Want.NONE, "what it gave last is held"


def check_step(toy: Toy, output: Array, wanted: GenerationRequest, told: Generated, count: int) -> None:
    """A step is what follows from `output` [*features]."""
    if toy.spec.name == FED.name:
        assert_near(told.steps[count], output)
        return
    rules = SamplingRules(seed=wanted.seed, temperature=float(not wanted.greedy))
    tokens, log_probs = sample(output[None], [rules], [count], [[]])
    assert told.steps[count] == tokens[0]
    assert np.isclose(told.log_probs[count], log_probs[0], atol=1e-5)
