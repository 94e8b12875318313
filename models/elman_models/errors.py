"""What can be wrong with a model on disk.

BundleError
├── SpecError      model.yaml: an unknown key, an impossible size, a contradiction
├── WeightsError   weights: missing, truncated, of other names, shapes or dtypes than the spec's
└── GoldenError    a golden file: missing, unreadable, of other names, shapes or dtypes than the model's
"""


class BundleError(Exception):
    """A bundle that cannot be served; the message names the file and the field or tensor."""


class SpecError(BundleError):
    """`model.yaml` is not a valid spec."""


class WeightsError(BundleError):
    """The weights are not those of the spec, or cannot be read."""


class GoldenError(BundleError):
    """The golden file is none of this model, or cannot be read."""
