"""Of each family of networks that people write the tests have two at least, so that none gets lost."""

import pytest
from module_networks import SEQUENCES, STEPS
from network_families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_two_networks_of_the_tests_at_least(family: str) -> None:
    assert {*FAMILIES[family]} <= {*SEQUENCES, *STEPS}
    assert len({*FAMILIES[family]}) >= 2
