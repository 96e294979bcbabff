"""Real parts for the tests: Apache Kafka, Toxiproxy, and the embedded broker and cache.

Each is a child process on free ports of loopback, usable without an event loop.
`fixtures` hands them to the tests.
"""
