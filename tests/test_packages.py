"""Our top-level names are plain words: no installed distribution may own one of them."""

from importlib.metadata import packages_distributions

import pytest


@pytest.mark.parametrize("name", ["consumers", "engine", "infra", "producers", "schemas"])
def test_no_other_distribution_owns_the_name(name: str) -> None:
    owners = set(packages_distributions().get(name, []))
    assert owners <= {"tagstream"}
