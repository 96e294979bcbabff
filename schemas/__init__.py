"""What tagstream says to the outside: queries, profiles, tools, events, failures.

Every struct here is frozen; JSON Schema and AsyncAPI are exported from them
(`schemas.export`) and are never written by hand. Nothing here does I/O.
"""
