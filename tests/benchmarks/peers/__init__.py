"""Other implementations of the pipeline's job, for `tagstream bench pipeline` to measure.

Run as modules with this folder's parent and the project on the path, as the harness does
(`infra.bench.pipeline`): `python -m peers.bare`. Run by its path, `concurrent.py` would hide
the standard library's `concurrent`.
"""
