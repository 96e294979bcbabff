"""Every setting, in one place: typed, documented, from the environment or a TOML file.

In: `TAGSTREAM_*` variables, and the file that `TAGSTREAM_CONFIG` names (the environment
wins). Out: `Settings`, or one `SettingsError` line with the name, the value and what is allowed.
"""

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from schemas.tools import CALLS, tool_name

PREFIX = "TAGSTREAM_"
SECRET = {"kafka_sasl_password", "kafka_ssl_password", "redis_password"}

Ms = Annotated[int, Meta(ge=1, le=3_600_000)]
Hours = Annotated[int, Meta(ge=1, le=87_600)]
Size = Annotated[int, Meta(ge=1, le=2**31)]
Name = Annotated[str, Meta(min_length=1)]


class SettingsError(Exception):
    """A setting is unknown or bad; the message is one line for the operator."""


def about(text: str) -> Meta:
    """What a setting means."""
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Names in capitals with TAGSTREAM_ in front are the environment's."""

    # Kafka
    kafka_bootstrap: Annotated[Name, about("Brokers, host:port, comma-separated")] = (
        "localhost:9092"
    )
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        about("How to talk to the brokers"),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], about("SASL mechanism")
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str | None, about("SASL user")] = None
    kafka_sasl_password: Annotated[str | None, about("SASL password")] = None
    kafka_ssl_ca_file: Annotated[
        str | None, about("CA certificates (PEM) that vouch for the brokers")
    ] = None
    kafka_ssl_cert_file: Annotated[str | None, about("Our certificate (PEM), for mutual TLS")] = (
        None
    )
    kafka_ssl_key_file: Annotated[str | None, about("Our key (PEM)")] = None
    kafka_ssl_password: Annotated[str | None, about("The key's password")] = None
    kafka_idempotence: Annotated[
        bool, about("Idempotent producer; off only for brokers that lack it")
    ] = True
    kafka_linger_ms: Annotated[
        Annotated[int, Meta(ge=0, le=1_000)], about("Wait for fuller batches")
    ] = 0
    kafka_io_timeout_ms: Annotated[Ms, about("Time limit of one request to the broker")] = 10_000
    kafka_max_record_bytes: Annotated[Size, about("Largest record we send")] = 4_194_304
    # Consuming
    group: Annotated[Name, about("Consumer group")] = "tagstream"
    group_instance_id: Annotated[
        str | None, about("Static membership: this member's lasting name")
    ] = None
    queries_topic: Annotated[Name, about("Where queries come from")] = "search.queries"
    window: Annotated[Annotated[int, Meta(ge=1, le=10_000)], about("Queries in flight at once")] = (
        64
    )
    partition_span: Annotated[
        Size,
        about("Records of a partition above its watermark before it is paused; resumed at half"),
    ] = 512
    commit_interval_ms: Annotated[Ms, about("How often watermarks are committed")] = 500
    session_timeout_ms: Annotated[
        Ms, about("Without a heartbeat for so long, the member is dead")
    ] = 10_000
    rebalance_timeout_ms: Annotated[
        Ms, about("How long the group waits for a member to rejoin")
    ] = 30_000
    rebalance_drain_ms: Annotated[
        Ms, about("How long a revoked partition's queries may still take")
    ] = 5_000
    shutdown_drain_ms: Annotated[Ms, about("How long open queries may take after SIGTERM")] = 20_000
    fetch_max_wait_ms: Annotated[Ms, about("How long the broker may hold a fetch")] = 500
    max_partition_fetch_bytes: Annotated[Size, about("Bytes of one partition in one fetch")] = (
        262_144
    )
    replay: Annotated[
        bool, about("After a rebalance, read what redelivered queries had published, and go on")
    ] = True
    replay_limit_ms: Annotated[Ms, about("How long that reading may take")] = 10_000
    deadline_ms: Annotated[Ms | None, about("For queries that name none; unset: none")] = None
    expire_early: Annotated[
        bool, about("Expire a query too if less is left than the engine's usual time")
    ] = False
    degrade_late: Annotated[
        bool, about("Let the rules answer if less is left than the engine's usual time")
    ] = False
    # Producing
    routes: Annotated[
        dict[str, Name], about("Topics by tool, where they differ from the contract's")
    ] = {}
    done_topic: Annotated[Name, about("Where `done` events go")] = "search.done"
    failed_per_minute: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        about("More failed queries than this stop the service; 0: never"),
    ] = 100
    dead_letters_topic: Annotated[Name, about("Where records go that nothing could answer")] = (
        "search.dead-letters"
    )
    retention_hours: Annotated[
        Hours, about("How long new topics keep queries and events (personal data)")
    ] = 168
    dead_letters_retention_hours: Annotated[
        Hours, about("How long a new dead-letters topic keeps whole records")
    ] = 336
    # Profiles
    redis_url: Annotated[Name, about("redis:// or rediss:// (TLS)")] = "redis://localhost:6379/0"
    redis_username: Annotated[str | None, about("ACL user")] = None
    redis_password: Annotated[str | None, about("Its password")] = None
    redis_ca_file: Annotated[str | None, about("CA certificates (PEM) that vouch for Redis")] = None
    redis_timeout_ms: Annotated[Ms, about("Time limit of one look-up")] = 100
    redis_breaker_failures: Annotated[Size, about("Failures in a row that open the breaker")] = 5
    redis_breaker_pause_ms: Annotated[Ms, about("How long it stays open")] = 2_000
    profile_max_bytes: Annotated[Size, about("A larger profile is invalid")] = 65_536
    # Engine
    model: Annotated[
        Name, about("`tagstream`, a folder, a hub name, `base` (untuned), or `stub`")
    ] = "tagstream"
    model_cache: Annotated[str, about("Where prepared weights are kept")] = "~/.cache/tagstream"
    quantization: Annotated[
        Literal["none", "int8"], about("Weights and activations (W8A8), or bf16")
    ] = "int8"
    compile: Annotated[bool, about("Compile the model; off starts faster and answers slower")] = (
        True
    )
    guided: Annotated[bool, about("Hold the model to the grammar")] = True
    examples: Annotated[bool, about("Show an untuned model examples of answers")] = True
    stream: Annotated[bool, about("Publish calls as they close; off: answers in one piece")] = True
    threads: Annotated[
        Annotated[int, Meta(ge=0, le=512)],
        about("CPU threads; 0: all cores; 1 where cores are shared"),
    ] = 0
    kv_cache_gib: Annotated[
        Annotated[int, Meta(ge=1, le=1_024)], about("Memory for the KV cache (CPU)")
    ] = 1
    max_model_len: Annotated[
        Annotated[int, Meta(ge=512, le=131_072)], about("Tokens, prompt and answer")
    ] = 8_192
    max_tokens: Annotated[Annotated[int, Meta(ge=8, le=4_096)], about("Tokens of an answer")] = 256
    stall_ms: Annotated[Ms, about("Without a token for so long, the engine counts as dead")] = (
        10_000
    )
    baseline: Annotated[
        bool, about("Let the rule-based baseline answer while the engine cannot")
    ] = True
    stub_delay_ms: Annotated[
        Annotated[float, Meta(ge=0, le=3_600_000)], about("How long the stub engine takes")
    ] = 0.0
    # Operating
    worker: Annotated[str, about("This worker's name; default: host and process")] = ""
    http_host: Annotated[str, about("Address of /live, /ready and /metrics")] = "0.0.0.0"
    http_port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)] | None, about("Their port; unset: off")
    ] = None
    ready_stall_ms: Annotated[
        Ms, about("Not ready if the watermark stands still so long with work open")
    ] = 10_000
    log_format: Annotated[Literal["json", "text"], about("Lines on stderr")] = "json"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], about("How much")] = "INFO"
    personal_data: Annotated[bool, about("Let query text into spans and logs")] = False

    @property
    def worker_name(self) -> str:
        return self.worker or f"{socket.gethostname()}-{os.getpid()}"

    def kafka_client(self) -> dict[str, Any]:
        """What every aiokafka client needs to connect. Raises `SettingsError`."""
        client: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap,
            "client_id": self.worker_name,
            "security_protocol": self.kafka_security_protocol,
        }
        if "SASL" in self.kafka_security_protocol:
            client["sasl_mechanism"] = self.kafka_sasl_mechanism
            client["sasl_plain_username"] = self.kafka_sasl_username
            client["sasl_plain_password"] = self.kafka_sasl_password
        if "SSL" in self.kafka_security_protocol:
            from aiokafka.helpers import create_ssl_context

            try:
                client["ssl_context"] = create_ssl_context(
                    cafile=self.kafka_ssl_ca_file,
                    certfile=self.kafka_ssl_cert_file,
                    keyfile=self.kafka_ssl_key_file,
                    password=self.kafka_ssl_password,
                )
            except OSError as error:
                raise SettingsError(f"kafka_ssl_*: cannot load the certificates: {error}") from None
        return client

    def redis_options(self) -> dict[str, Any]:
        """What redis-py needs beside the URL."""
        options = {
            "username": self.redis_username,
            "password": self.redis_password,
            "ssl_ca_certs": self.redis_ca_file,
        }
        return {name: value for name, value in options.items() if value is not None}


_TYPES = get_type_hints(Settings, include_extras=True)


def load(environment: Mapping[str, str] | None = None, file: str | None = None) -> Settings:
    """The settings in force. Raises `SettingsError`."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    file = file or environment.get(PREFIX + "CONFIG")
    if file:
        for name, value in _read(file).items():
            values[name] = _checked(name, value, f"{file}: {name}", strict=True)
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and variable != PREFIX + "CONFIG":
            name = variable.removeprefix(PREFIX).lower()
            values[name] = _checked(name, text, variable, strict=False)
    unknown = set(values.get("routes", ())) - (tools := {tool_name(tool) for tool in CALLS})
    if unknown:
        raise SettingsError(
            f"routes: no tool {sorted(unknown)}; allowed: {', '.join(sorted(tools))}"
        )
    return Settings(**values)


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).expanduser().read_text("utf-8"))
    except (OSError, RuntimeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read as TOML: {error}") from None


def _checked(name: str, value: Any, shown: str, *, strict: bool) -> Any:
    kind = _TYPES.get(name)
    if kind is None or name not in Settings.__struct_fields__:
        near = difflib.get_close_matches(name, Settings.__struct_fields__, 1)
        hint = (
            f"; did you mean {near[0]}?" if near else "; tagstream serve --show-settings lists all"
        )
        raise SettingsError(f"{shown}: there is no such setting{hint}")
    try:
        if not strict and "dict" in str(kind):
            return msgspec.json.decode(value, type=kind)
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, msgspec.DecodeError):
        said = "(hidden)" if name in SECRET or name == "redis_url" else repr(value)
        raise SettingsError(f"{shown}: {said} is not allowed; allowed: {allowed(name)}") from None


def allowed(name: str) -> str:
    """What a setting takes, in words."""
    return _allowed(_TYPES[name])


def _allowed(kind: Any) -> str:
    meta = getattr(kind, "__metadata__", ())
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    if kind is type(None):
        return "unset"
    if kind is bool:
        return "true, false"
    options = get_args(kind)
    if getattr(kind, "__origin__", None) is Literal:
        return ", ".join(map(str, options))
    if getattr(kind, "__origin__", None) is dict:
        return 'a table, {"tool": "topic"}'
    if options:
        return " or ".join(_allowed(option) for option in options)
    word = {int: "a whole number", float: "a number", str: "text"}[kind]
    for m in meta:
        if m.ge is not None:
            word += f" from {m.ge} to {m.le}"
        if m.min_length:
            word += ", not empty"
    return word


def describe(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Name, value (secrets masked), what is allowed, what it means; in order."""
    rows = []
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if name in SECRET and value is not None:
            value = "***"
        elif name == "redis_url":
            value = masked(value)
        meaning = next(m.description for m in _TYPES[name].__metadata__ if m.description)
        rows.append((name, "" if value is None else str(value), allowed(name), meaning))
    return rows


def masked(url: str) -> str:
    """A URL without its passwords; one that is no URL, too."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"(password=)[^&#]*", r"\1***", url)
