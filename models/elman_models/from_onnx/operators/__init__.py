"""What each of ONNX's operators is in torch's functions; the table is closed.

Meaning of the operators: https://onnx.ai/onnx/operators/ (docs/Operators.md of the ONNX repository).
"""

from elman_models.from_onnx.operators import elementwise, norms, products, reductions, shapes  # noqa: F401 - fill it
from elman_models.from_onnx.operators.registry import OPERATORS

__all__ = ["OPERATORS"]
