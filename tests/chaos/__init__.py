"""Faults by schedule against the running service, and a ledger that judges what came out."""
