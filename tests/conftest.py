"""What every test may use: real parts, where they can be had (see tests/real).

With REAL_PARTS=required in the environment, as in CI, a test that would skip fails.
"""

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.real.fixtures"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("REAL_PARTS") == "required":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and REAL_PARTS=required: {report.longrepr}"
    return report
