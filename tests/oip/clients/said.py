"""What the scripts share: inputs, and errors as (code, message)."""

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException


def tensor(array, name="input", datatype="FP32"):
    """An input of a request."""
    made = grpcclient.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def row(array, datatype="FP32"):
    """[T, features] as the input of one sequence, [T, 1, features]."""
    return [tensor(np.ascontiguousarray(array[:, None]), datatype=datatype)]


def error_of(call, *arguments, **named):
    """The code and the message that a call fails with."""
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        return [str(error.status()).removeprefix("StatusCode."), error.message()]
    return ["OK", ""]
