"""The SDK's fake server generates and scores as the server, and refuses what it refuses, in the same words."""

from typing import Any

import numpy as np
from refusals import refusal_of
from served import Serve
from test_fake_server_agrees import Open, X, faked, named

from elman import wire
from elman.testing import FakeModel
from elman.v1 import inference_pb2, tensor_pb2


def generate(**fields: Any) -> inference_pb2.GenerateRequest:
    """A request for two steps of a session's own, after a token; `fields` say otherwise."""
    prompt = wire.to_tensor(np.array([1], np.int64))
    return inference_pb2.GenerateRequest(**{"model": "tokens", "max_steps": 2, "input": prompt, **fields})


def scored(targets: Any, **fields: Any) -> inference_pb2.ScoreRequest:
    """A request to score two steps of the model of floats."""
    x, wanted = wire.to_tensor(np.ones((2, 3), np.float32)), wire.to_tensor(np.array(targets))
    return inference_pb2.ScoreRequest(**{"model": "gru", "lengths": [2], "input": x, "targets": wanted, **fields})


IDS = wire.to_tensor(np.array([11], np.int64))
FEEDBACK, SAMPLING = inference_pb2.Feedback, inference_pb2.Sampling
ODD_GENERATIONS: dict[str, inference_pb2.GenerateRequest] = {
    "no model": generate(model="nosuch"),
    "no version": generate(version="7"),
    "no session": generate(session_id="nosuch"),
    "no steps": generate(max_steps=0),
    "too many steps": generate(max_steps=65537),
    "a position of no session": generate(position=3),
    "a position ahead": generate(session_id="there", position=3),
    "told of nothing": generate(session_id="there", told=1),
    "another version": generate(session_id="there", version="7"),
    "no prompt": generate(session_id="there", input=None),
    "an empty prompt": generate(input=wire.to_tensor(np.empty(0, np.int64))),
    "an unknown token": generate(session_id="there", input=IDS),
    "an unknown input": generate(input=None, inputs=[tensor_pb2.NamedTensor(name="x", tensor=IDS)]),
    "what is not to be given": generate(given=[tensor_pb2.NamedTensor(name="input", tensor=IDS)]),
    "a context": generate(context=[tensor_pb2.NamedTensor(name="speaker", tensor=IDS)]),
    "feedback to nothing": generate(feedback=[FEEDBACK(input="x")]),
    "feedback of nothing": generate(feedback=[FEEDBACK(output="x")]),
    "feedback twice": generate(feedback=[FEEDBACK(), FEEDBACK()]),
    "values to ids": generate(feedback=[FEEDBACK(kind=FEEDBACK.KIND_VALUES)]),
    "a model that is not fed so": generate(model="gru", input=X),
    "a model that has not so many logits": generate(
        model="gru", input=X, feedback=[FEEDBACK(kind=FEEDBACK.KIND_TOKENS)]
    ),
    "a cold temperature": generate(sampling=SAMPLING(temperature=-1)),
    "a temperature that is no number": generate(sampling=SAMPLING(temperature=float("nan"))),
    "no probability": generate(sampling=SAMPLING(top_p=0)),
    "no penalty": generate(sampling=SAMPLING(repetition_penalty=0)),
    "a bias of an unknown token": generate(sampling=SAMPLING(logit_bias={4: 1.0})),
    "an endless bias": generate(sampling=SAMPLING(logit_bias={3: float("inf")})),
    "all tokens barred": generate(sampling=SAMPLING(logit_bias=dict.fromkeys(range(4), -float("inf")))),
    "an unknown stop": generate(stop=[4]),
    "an empty stop sequence": generate(stop_sequences=[inference_pb2.TokenSequence()]),
    "one beam": generate(beams=1),
    "a length penalty without beams": generate(length_penalty=1.0),
}
ODD_SCORES: dict[str, inference_pb2.ScoreRequest] = {
    "no model": scored([0, 1], model="nosuch"),
    "no session": scored([0, 1], session_id="nosuch"),
    "an unknown output": scored([0, 1], output="policy"),
    "a position of no session": scored([0, 1], position=2),
    "a token that there is not": scored([0, 5]),
    "too many tokens": scored([0, 1, 2]),
    "values of another shape": scored(np.zeros((2, 3), np.float32)),
    "values of another type": scored(np.zeros((2, 5), np.float16)),
    "a context": scored([0, 1], context=named("speaker")),
}


async def told_of(call: Any) -> inference_pb2.GenerateResponse:
    """The last message of a generation."""
    *_, last = [message async for message in call]
    response: inference_pb2.GenerateResponse = last
    return response


async def test_generations_and_scores_are_refused_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru", "tokens")
    tokens = FakeModel("tokens", input_size=3, hidden_size=4, num_embeddings=11, step=lambda _, state: (state, state))
    async with faked(FakeModel("gru", input_size=3, hidden_size=5), tokens) as (_, fake):
        for stubs in (served, fake):
            await stubs.sessions.OpenSessions(Open(model="tokens", session_ids=["there"]))
        calls: list[Any] = [(name, "Generate", request) for name, request in ODD_GENERATIONS.items()]
        calls += [(f"score: {name}", "Score", request) for name, request in ODD_SCORES.items()]
        differ = {}
        for name, method, request in calls:
            answers = [getattr(stubs.inference, method)(request) for stubs in (served, fake)]
            real, told = [await refusal_of(told_of(one) if method == "Generate" else one) for one in answers]
            if told != real:
                differ[name] = (told, real)
        assert not differ


async def test_generations_are_told_as_by_the_server(serve: Serve) -> None:
    served = await serve("tokens")
    tokens = FakeModel("tokens", input_size=3, hidden_size=4, num_embeddings=11, step=lambda _, state: (state, state))
    bias = SAMPLING(logit_bias={2: 1000.0})  # so that both draw that
    stop = [inference_pb2.TokenSequence(tokens=[2, 2, 2])]
    async with faked(tokens) as (_, fake):
        for request in (generate(sampling=bias), generate(sampling=bias, max_steps=9, stop_sequences=stop)):
            real, told = [await told_of(stubs.inference.Generate(request)) for stubs in (served, fake)]
            assert (told.finish, told.position) == (real.finish, real.position)
        for stubs in (served, fake):
            await stubs.sessions.OpenSessions(Open(model="tokens", session_ids=["a"]))
            request = generate(sampling=bias, session_id="a", position=0, max_steps=5)
            assert (await told_of(stubs.inference.Generate(request))).position == 6
            request.told = 2  # what was told is left out
            (again,) = [message async for message in stubs.inference.Generate(request)]
            assert wire.from_tensor(again.steps, name="steps").tolist() == [2, 2, 2]
            assert (len(again.log_probs), again.position, again.session_id) == (3, 6, "a")
            request.told = 6
            assert (
                "told: 5 steps were generated, got 6"
                in (await refusal_of(told_of(stubs.inference.Generate(request)))).message
            )
            other = generate(sampling=bias, session_id="a", position=0, max_steps=4)
            refused = await refusal_of(told_of(stubs.inference.Generate(other)))
            assert (refused.reason, "is behind the session's, 6" in refused.message) == ("ANSWER_GONE", True)
