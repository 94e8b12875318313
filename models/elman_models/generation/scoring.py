"""Scoring: how well what came next fits what a model gave."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.sampling import log_softmax

F64 = NDArray[np.float64]


def log_likelihoods(logits: NDArray[Any], targets: NDArray[np.int64]) -> F64:
    """[N] natural logarithms of the probabilities of `targets` [N] by `logits` [N, V], or by log-probabilities."""
    scores: F64 = log_softmax(logits.astype(np.float64))[np.arange(len(targets)), targets]
    return scores


def squared_errors(given: NDArray[Any], targets: NDArray[Any]) -> F64:
    """[N] means, over the features, of the squared differences of two [N, *features]."""
    differences = given.astype(np.float64) - targets
    errors: F64 = (differences**2).reshape(len(given), -1).mean(axis=1)
    return errors
