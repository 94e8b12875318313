"""A generation of the fake server: what a session was asked for, and what came of it so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from elman.testing._generate_spec import GenerateSpec, Sampling
from elman.testing._model import FakeModel, Values
from elman.testing._refusal import Refusal
from elman.testing._sessions import FakeSession
from elman.v1 import inference_pb2
from elman.wire import to_tensor

F64 = npt.NDArray[np.float64]


class FakeGeneration:
    """The caller holds the server's lock."""

    def __init__(self, spec: GenerateSpec, key: bytes, session: FakeSession) -> None:
        """`key`: what was asked, as bytes. Raises Refusal where there is nothing to go on from."""
        if spec.prompt is None and session.last_output is None:
            raise Refusal(
                "INVALID_INPUT",
                "expected a prompt: the output that the session gave last is not held; it has not stepped yet, "
                "returned none then, or too much ran since",
            )
        self.spec = spec
        self.key = key
        self.session = session
        self.begin = session.position
        self.handle = session.handle
        self.listener: object | None = None
        """Who is told of it; another one takes its place."""
        self.steps: list[npt.NDArray[np.generic]] = []
        """The steps that were applied, as the model takes them."""
        self.log_probs: list[float] = []
        self.finish: inference_pb2.GenerateResponse.Finish.ValueType = inference_pb2.GenerateResponse.FINISH_UNSPECIFIED
        self.has_run_prompt = spec.prompt is None
        self._tokens = _tokens_of(spec, session.model)

    @property
    def position(self) -> int:
        """Of its session, unless somebody else has stepped it."""
        prompt = self.spec.prompt if self.has_run_prompt else None
        return self.begin + (0 if prompt is None else len(prompt)) + len(self.steps)

    def advance(self) -> None:
        """Runs the prompt, if that is to come, and one step. Raises Refusal."""
        self._check_at_home()
        session, prompt = self.session, self.spec.prompt
        if not self.has_run_prompt and prompt is not None:
            if error := session.model.bad_value(prompt):
                raise Refusal("INVALID_INPUT", f"row 0: {error}")
            session.run(prompt)
            self.has_run_prompt = True
        assert session.last_output is not None  # else it would not have begun
        step = self._feed(session.last_output)
        session.run(step[np.newaxis])
        self.steps.append(step)
        self.finish = self._finish()

    def response(self, told: int) -> inference_pb2.GenerateResponse:
        """What there is after `told` steps."""
        response = inference_pb2.GenerateResponse(
            position=self.position, finish=self.finish, log_probs=self.log_probs[told:]
        )
        if told < len(self.steps):
            response.steps.CopyFrom(to_tensor(np.stack(self.steps[told:])))
        return response

    def _check_at_home(self) -> None:
        session = self.session
        if session.has_ended or session.handle != self.handle:
            text = "the session was attached elsewhere since, or ended; attach again"
            raise Refusal("STALE_HANDLE", text)
        if session.position != self.position:
            text = f"somebody else has stepped the session, to position {session.position}"
            raise Refusal("ANSWER_GONE", text, position=session.position)

    def _feed(self, output: Values) -> npt.NDArray[np.generic]:
        if not self.spec.draws_tokens:
            return output.copy()
        logits = output.astype(np.float64)
        token = draw(logits, self.spec.sampling, len(self.steps), self._tokens)
        self.log_probs.append(float(log_softmax(logits)[token]))
        self._tokens.append(token)
        model = self.session.model
        return np.array(token, np.int64) if model.num_embeddings else np.eye(model.input_size, dtype=np.float32)[token]

    def _finish(self) -> inference_pb2.GenerateResponse.Finish.ValueType:
        ended = [(token,) for token in self.spec.stop]
        for sequence in (*ended, *self.spec.stop_sequences):
            if len(sequence) <= len(self.steps) and tuple(self._tokens[-len(sequence) :]) == sequence:
                return inference_pb2.GenerateResponse.FINISH_STOP
        if len(self.steps) == self.spec.max_steps:
            return inference_pb2.GenerateResponse.FINISH_LENGTH
        return inference_pb2.GenerateResponse.FINISH_UNSPECIFIED


def draw(logits: F64, rules: Sampling, count: int, history: Iterable[int]) -> int:
    """The token that follows `logits` [V]; `count`: how many were drawn before it."""
    wanted = logits.copy()
    for token in {token for token in history if token < len(wanted)}:  # a model may take more ids than it gives
        wanted[token] *= 1 / rules.repetition_penalty if wanted[token] > 0 else rules.repetition_penalty
    for token, bias in rules.logit_bias.items():
        wanted[token] += bias
    order = np.argsort(-wanted, kind="stable")
    if rules.temperature == 0:
        return int(order[0])
    kept = order[: rules.top_k or None]
    likely = np.exp((wanted[kept] - wanted[kept[0]]) / rules.temperature)
    likely[np.cumsum(likely) - likely >= rules.top_p * likely.sum()] = 0
    likely[0] = 1
    return int(np.random.default_rng([rules.seed, count]).choice(kept, p=likely / likely.sum()))


def log_softmax(logits: F64) -> F64:
    """[..., V] of [..., V]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: F64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _tokens_of(spec: GenerateSpec, model: FakeModel) -> list[int]:
    # Those that the sequence has had.
    if spec.prompt is None or not spec.draws_tokens:
        return []
    tokens: list[int] = (spec.prompt if model.num_embeddings else spec.prompt.argmax(axis=1)).tolist()
    return tokens
