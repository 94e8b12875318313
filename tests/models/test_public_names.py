"""What `import elman_models` offers, and what it costs."""

import subprocess
import sys

import elman_models


def test_every_public_name_can_be_imported_and_none_is_left_out() -> None:
    assert sorted(elman_models.__all__) == elman_models.__all__
    assert set(elman_models.__all__) == set(elman_models._HOMES)
    for name in elman_models.__all__:
        assert getattr(elman_models, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(elman_models, "nothing")


def test_layout_and_errors_are_imported_without_torch() -> None:
    code = "import sys, elman_models.layout, elman_models.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_bundles_does_not_bring_the_module_that_opens_pickles() -> None:
    code = "import sys, elman_models.bundle; sys.exit('elman_models.from_state_dict.checkpoint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
