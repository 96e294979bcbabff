"""Settings: where they come from, which wins, and the one line that a bad one gives."""

from pathlib import Path
from typing import Any

import pytest

from infra.settings import (
    PREFIX,
    SECRET,
    Settings,
    SettingsError,
    allowed,
    describe,
    load,
    masked,
)

NAMES = Settings.__struct_fields__
HIDDEN = "hunter2"


def from_environment(**values: str) -> Settings:
    return load({PREFIX + name.upper(): value for name, value in values.items()})


def from_file(folder: Path, text: str, **environment: str) -> Settings:
    file = folder / "tagstream.toml"
    file.write_text(text, "utf-8")
    settings = {PREFIX + name.upper(): value for name, value in environment.items()}
    return load({PREFIX + "CONFIG": str(file)} | settings)


def line(error: pytest.ExceptionInfo[SettingsError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert error.value.__cause__ is None  # no second story behind the line
    return text


# --- where from ---------------------------------------------------------------------------


def test_without_anything_the_defaults_stand() -> None:
    assert load({}) == Settings()
    assert load({"PATH": "/bin", "tagstream_window": "5", "TAG": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("kafka_bootstrap", "a:1,b:2", "a:1,b:2"), ("redis_url", "rediss://h:1/2", "rediss://h:1/2"),
        ("window", "7", 7), ("kafka_linger_ms", "0", 0), ("deadline_ms", "250", 250),
        ("http_port", "0", 0), ("http_port", "8080", 8080), ("stub_delay_ms", "12.5", 12.5),
        ("stub_delay_ms", "3", 3.0), ("guided", "false", False), ("guided", "TRUE", True),
        ("baseline", "0", False), ("log_level", "DEBUG", "DEBUG"), ("model", "stub", "stub"),
        ("kafka_sasl_password", HIDDEN, HIDDEN), ("worker", "", ""), ("worker", "w 1", "w 1"),
        ("routes", '{"title":"t"}', {"title": "t"}), ("routes", "{}", {}),
        ("kafka_sasl_mechanism", "SCRAM-SHA-256", "SCRAM-SHA-256"),
    ],
)  # fmt: skip
def test_the_environment(name: str, text: str, value: object) -> None:
    settings = from_environment(**{name: text})
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    for other in NAMES:
        if other != name:
            assert getattr(settings, other) == getattr(Settings(), other)


def test_the_file(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        'window = 9\nstub_delay_ms = 5\nguided = false\nmodel = "stub"\nworker = "é"\n'
        '[routes]\ntitle = "t"\n',
    )
    assert settings == Settings(
        window=9, stub_delay_ms=5.0, guided=False, model="stub", worker="é", routes={"title": "t"}
    )


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = from_file(tmp_path, 'window = 9\ngroup = "file"', window="5")
    assert (settings.window, settings.group) == (5, "file")


def test_a_file_named_by_the_caller_wins_over_config(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.toml"
    chosen.write_text("window = 3")
    assert load({PREFIX + "CONFIG": str(tmp_path / "none.toml")}, str(chosen)).window == 3


def test_the_worker_has_a_name_of_its_own() -> None:
    assert Settings(worker="w").worker_name == "w"
    assert Settings().worker_name.rpartition("-")[2].isdigit()


# --- bad ones -----------------------------------------------------------------------------

BAD = [
    ("window", "0", "a whole number from 1 to 10000"),
    ("window", "10001", "a whole number from 1 to 10000"),
    ("window", "-1", "a whole number from 1 to 10000"),
    ("window", "many", "a whole number from 1 to 10000"),
    ("window", "1.5", "a whole number from 1 to 10000"),
    ("window", "", "a whole number from 1 to 10000"),
    ("window", "5 ", "a whole number from 1 to 10000"),
    ("window", "a\nb", "a whole number from 1 to 10000"),
    ("commit_interval_ms", "3600001", "a whole number from 1 to 3600000"),
    ("profile_max_bytes", str(2**31 + 1), f"a whole number from 1 to {2**31}"),
    ("deadline_ms", "soon", "a whole number from 1 to 3600000 or unset"),
    ("http_port", "70000", "a whole number from 0 to 65535 or unset"),
    ("stub_delay_ms", "-0.5", "a number from 0 to 3600000"),
    ("stub_delay_ms", "nan", "a number from 0 to 3600000"),
    ("stub_delay_ms", "inf", "a number from 0 to 3600000"),
    ("guided", "yes", "true, false"),
    ("log_level", "info", "DEBUG, INFO, WARNING, ERROR"),
    ("quantization", "int4", "none, int8"),
    ("kafka_security_protocol", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ("group", "", "text, not empty"),
    ("kafka_bootstrap", "", "text, not empty"),
    ("done_topic", "", "text, not empty"),
    ("routes", "title=x", 'a table, {"tool": "topic"}'),
    ("routes", '["title"]', 'a table, {"tool": "topic"}'),
    ("routes", '{"title":5}', 'a table, {"tool": "topic"}'),
    ("routes", '{"title":""}', 'a table, {"tool": "topic"}'),
]


@pytest.mark.parametrize(("name", "text", "may_be"), BAD)
def test_a_bad_value_names_itself_and_what_is_allowed(name: str, text: str, may_be: str) -> None:
    with pytest.raises(SettingsError) as error:
        from_environment(**{name: text})
    variable = PREFIX + name.upper()
    assert line(error) == f"{variable}: {text!r} is not allowed; allowed: {may_be}"
    assert allowed(name) == may_be


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('window = "5"', "window: '5' is not allowed; allowed: a whole number from 1 to 10000"),
        ("window = true", "window: True is not allowed"), ("window = 5.0", "window: 5.0 is not"),
        ("guided = 1", "guided: 1 is not allowed; allowed: true, false"),
        ("worker = 5", "worker: 5 is not allowed; allowed: text"),
        ("stub_delay_ms = nan", "stub_delay_ms: nan is not allowed"),
        ("stub_delay_ms = inf", "stub_delay_ms: inf is not allowed"),
        ("worker = 2026-01-02", "is not allowed; allowed: text"),
        ("routes = 'x'", "routes: 'x' is not allowed"),
        ("[kafka]\nbootstrap = 'x'", "kafka: there"),
        ("windw = 5", "windw: there is no such setting; did you mean window?"),
        ("window", "cannot be read as TOML"), ("a = '\n'", "cannot be read as TOML"),
        ("window = 1\nwindow = 2", "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_a_bad_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        from_file(tmp_path, text)
    assert line(error).startswith(str(tmp_path / "tagstream.toml"))
    assert said in line(error)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    odd = tmp_path / "odd.toml"
    odd.write_bytes(b"worker = '\xff'")
    for file in (tmp_path / "none.toml", tmp_path, odd, "~nobody-at-all/x.toml"):
        with pytest.raises(SettingsError) as error:
            load({}, str(file))
        assert line(error).startswith(f"{file}: cannot be read")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WINDOWS", "did you mean window?"), ("REDIS_PASWORD", "did you mean redis_password?"),
        ("KAFKA_BOOTSTRAP_SERVERS", "did you mean kafka_bootstrap?"),
        ("ZZZ", "tagstream serve --show-settings lists all"), ("KAFKA_CLIENT", "?"), ("", "lists"),
        ("WORKER_NAME", "?"),
    ],
)  # fmt: skip
def test_an_unknown_name_suggests(name: str, hint: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({PREFIX + name: HIDDEN})
    assert line(error).startswith(f"{PREFIX}{name}: there is no such setting; ")
    assert hint in line(error)
    assert HIDDEN not in line(error)


def test_routes_name_tools() -> None:
    with pytest.raises(SettingsError) as error:
        from_environment(routes='{"titel":"x"}')
    assert "titel" in line(error)
    assert "allowed: company, date_posted," in line(error)


# --- secrets and words --------------------------------------------------------------------


def test_every_password_is_a_secret() -> None:
    assert {name for name in NAMES if "password" in name} == SECRET


@pytest.mark.parametrize("name", sorted(SECRET))
def test_secrets_are_masked(name: str, tmp_path: Path) -> None:
    settings = from_environment(**{name: HIDDEN})
    assert getattr(settings, name) == HIDDEN
    rows = {row[0]: row for row in describe(settings)}
    assert rows[name][1] == "***"
    assert HIDDEN not in str(rows)
    assert {row[0]: row for row in describe(Settings())}[name][1] == ""
    for value in (f"['{HIDDEN}']", f"{{ a = '{HIDDEN}' }}", "5"):
        with pytest.raises(SettingsError) as error:
            from_file(tmp_path, f"{name} = {value}")
        assert "(hidden) is not allowed" in line(error)
        assert HIDDEN not in line(error)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h"), ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://u@h/0", "redis://u@h/0"), (f"redis://u:{HIDDEN}@h/0", "redis://u:***@h/0"),
        (f"rediss://:{HIDDEN}@H:1/0", "rediss://:***@H:1/0"),
        (f"redis://u:{HIDDEN}@[::1]:6379", "redis://u:***@[::1]:6379"),
        (f"redis://:a@{HIDDEN}@h/0", "redis://:***@h/0"), (f"redis://u:a/{HIDDEN}@h", "redis://u:***@h"),
        (f"redis://u:{HIDDEN}@h:port/0", "redis://u:***@h:port/0"),
        (f"unix://u:{HIDDEN}@/run/redis?db=1", "unix://u:***@/run/redis?db=1"),
        (f"redis://h/0?password={HIDDEN}&db=1", "redis://h/0?password=***&db=1"),
        (f"redis://u:{HIDDEN}@h?ssl_password={HIDDEN}", "redis://u:***@h?ssl_password=***"),
        ("redis://[bad", "redis://[bad"), ("", ""),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert masked(url) == shown
    rows = {row[0]: row[1] for row in describe(Settings(redis_url=url))}
    assert rows["redis_url"] == shown


def test_a_bad_url_is_hidden(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        from_file(tmp_path, f'redis_url = ["redis://:{HIDDEN}@h"]')
    assert HIDDEN not in line(error)


def test_every_setting_is_documented_in_order() -> None:
    rows = describe(Settings())
    assert [row[0] for row in rows] == list(NAMES)
    for name, value, may_be, meaning in rows:
        assert meaning[0].isupper() or meaning[0] == "`" or name == "redis_url"
        assert may_be == allowed(name)
        assert may_be
        assert "\n" not in value + may_be + meaning
        assert "typing" not in may_be
        assert "class" not in may_be


def test_what_outsiders_rely_on() -> None:
    contract = {"kafka_bootstrap", "redis_url", "group", "model", "stub_delay_ms", "http_port"}
    assert contract | {"worker"} <= set(NAMES)
    assert Settings().http_port is None


# --- clients ------------------------------------------------------------------------------


def test_clients_get_what_is_set_and_nothing_else() -> None:
    plain = Settings(worker="w").kafka_client()
    assert plain == {
        "bootstrap_servers": "localhost:9092", "client_id": "w", "security_protocol": "PLAINTEXT",
    }  # fmt: skip
    login: dict[str, Any] = {"kafka_sasl_username": "u", "kafka_sasl_password": HIDDEN}
    sasl = Settings(worker="w", kafka_security_protocol="SASL_PLAINTEXT", **login).kafka_client()
    assert sasl["sasl_plain_password"] == HIDDEN
    assert sasl["sasl_mechanism"] == "SCRAM-SHA-512"
    assert Settings().redis_options() == {}
    assert Settings(redis_password=HIDDEN).redis_options() == {"password": HIDDEN}


def test_certificates_that_cannot_be_loaded(tmp_path: Path) -> None:
    none = str(tmp_path / "none.pem")
    for name in ("kafka_ssl_ca_file", "kafka_ssl_cert_file"):
        settings = Settings(kafka_security_protocol="SSL", **{name: none})  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="cannot load") as error:
            settings.kafka_client()
        line(error)
