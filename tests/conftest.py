"""What every test may use: real parts, where they can be had (see tests/real)."""

pytest_plugins = ["tests.real.fixtures"]
