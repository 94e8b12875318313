"""What each of Keras's layers is in torch's modules; the table is closed.

Meaning of the layers: https://keras.io/api/layers/, and `keras/src/layers` of the Keras repository.
"""

from elman_models.from_keras.layers import (  # noqa: F401 - each fills the registry
    activations,
    convolutions,
    dense,
    merging,
    norms,
    recurrent,
)
from elman_models.from_keras.layers.registry import LAYERS

__all__ = ["LAYERS"]
