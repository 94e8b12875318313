"""In words: which plans of the precision that a model asks for are left out on a CPU, and why."""

from elman_models.plans.processor import has_bfloat16, has_int8
from elman_models.spec import Cell, ModelSpec, Precision

_BFLOAT16_NEEDS = "AVX-512 (or AVX-NE-CONVERT)"
_INT8_NEEDS = "AVX-512 VNNI"


def left_out(spec: ModelSpec) -> list[str]:
    """A sentence for each precision that a model asks for and this machine's CPU does not compute in."""
    if spec.precision is Precision.FLOAT32:
        return []
    if spec.precision is Precision.FLOAT16:
        return ["precision float16 is not used on a CPU, only on CUDA; the model runs in float32"]
    if spec.bidirectional:
        return [f"precision {spec.precision} is not used for a bidirectional model on a CPU; it runs in float32"]
    lower = [Precision.BFLOAT16] if has_bfloat16() else []
    said = [] if lower else [_sentence(Precision.BFLOAT16, _bfloat16_plans(spec), _BFLOAT16_NEEDS, "float32")]
    if spec.precision is Precision.INT8 and not has_int8():
        instead = f"float32{' or bfloat16' if lower else ''}"
        said.append(_sentence(Precision.INT8, ["fused_int8"], _INT8_NEEDS, instead))
    return said


def _bfloat16_plans(spec: ModelSpec) -> list[str]:
    is_plain_lstm = spec.cell is Cell.LSTM and not spec.proj_size
    return ["fused_bfloat16", *(["onednn_lstm_bfloat16"] if is_plain_lstm else [])]


def _sentence(precision: Precision, plans: list[str], needs: str, instead: str) -> str:
    names = f"plan{'s' if len(plans) > 1 else ''} {' and '.join(plans)} {'are' if len(plans) > 1 else 'is'}"
    return (
        f"precision {precision} is not used on this processor: {names} left out, since oneDNN needs {needs} for it, "
        f"which the processor lacks or is told not to use; the model runs in {instead}"
    )
