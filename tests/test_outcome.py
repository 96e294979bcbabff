"""What a query's end is called: every combination, against the contract's order."""

from itertools import product
from typing import get_args

import pytest

from infra.outcome import Facts, status
from schemas.events import Status

# the contract: "Where several apply: failed, expired, degraded, partial, denied, complete"
ORDER: list[tuple[str, Status]] = [
    ("failed", "failed"),
    ("expired", "expired"),
    ("degraded", "degraded"),
    ("cut", "partial"),
    ("denied", "denied"),
]


@pytest.mark.parametrize("happened", list(product((False, True), repeat=len(ORDER))))
@pytest.mark.parametrize("reason", [None, "why"])
def test_the_first_that_applies(happened: tuple[bool, ...], reason: str | None) -> None:
    facts = Facts(reason=reason, **dict(zip(dict(ORDER), happened, strict=True)))
    applies = [name for (_, name), true in zip(ORDER, happened, strict=True) if true]
    assert status(facts) == [*applies, "complete"][0]


def test_all_facts_and_all_statuses_are_in_the_table() -> None:
    assert {fact for fact, _ in ORDER} | {"reason"} == set(Facts.__struct_fields__)
    assert {name for _, name in ORDER} | {"complete"} == set(get_args(Status))
