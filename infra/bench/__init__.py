"""Measures the service beside other implementations of the same job: `tagstream bench`."""
