from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from batch import cases
from ilab_chat_service.cli import main
from ilab_chat_service.settings import Settings, SettingsError, environment, read, unknown
from ilab_chat_service.supervisor import variables


def test_nothing_set_serves_the_embedded_model_on_loopback() -> None:
    settings = read({})
    assert settings == Settings()
    assert settings.address == "127.0.0.1:50051"
    assert settings.embedded
    assert settings.prompt_budget == 1000


@pytest.mark.parametrize(("name", "value"), [("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "http://[::1]:8080/v1")])
def test_a_key_or_a_url_alone_replaces_the_embedded_model(name: str, value: str) -> None:
    settings = read({name: value})
    assert not settings.embedded
    assert settings.prompt_budget == 4000


def test_workers_need_a_model_and_a_memory_that_they_can_share() -> None:
    api = {"ILAB_CHAT_WORKERS": "2", "OPENAI_API_KEY": "k"}
    assert read(api).workers == 2
    for environ in ({"ILAB_CHAT_WORKERS": "2"}, {**api, "ILAB_MEMORY_DB_PATH": ":memory:"}):
        with pytest.raises(SettingsError, match=r"^ILAB_CHAT_WORKERS: "):
            read(environ)


def test_settings_survive_the_environment() -> None:
    settings = read({**SPIFFE, "ILAB_CHAT_DRAIN_SECONDS": "0.1", "ILAB_CHAT_WORKERS": "2", "OPENAI_API_KEY": "k"})
    assert read(environment(settings)) == settings
    assert environment(read({})) == {}


def test_the_environment_sets_and_the_command_line_wins() -> None:
    environ = {"ILAB_CHAT_SEARCH_LIMIT": "3", "ILAB_CHAT_DRAIN_SECONDS": "1.5", "OPENAI_MODEL": ""}
    settings = read(environ, {"search_limit": "4"})
    assert settings.search_limit == 4
    assert settings.drain_seconds == 1.5
    assert settings.openai_model == ""


@cases(
    ("name", "value"),
    [
        ("ILAB_CHAT_SEARCH_LIMIT", "many"),
        ("ILAB_CHAT_SEARCH_LIMIT", "-1"),
        ("ILAB_CHAT_SEARCH_LIMIT", "1.5"),
        ("ILAB_CHAT_DRAIN_SECONDS", "nan"),
        ("ILAB_CHAT_DRAIN_SECONDS", "inf"),
        ("ILAB_CHAT_ALLOW_PLAINTEXT", "perhaps"),
        ("ILAB_CHAT_LOG_LEVEL", "LOUD"),
        ("ILAB_MEMORY_SESSION_TIMEOUT_HOURS", "1e300"),
        ("OPENAI_BASE_URL", "not-a-url"),
        ("OPENAI_BASE_URL", "http://"),
        ("OPENAI_BASE_URL", "http://[::1"),
        ("OPENAI_BASE_URL", "http://[v1.a]/v1"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:x/v1"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:99999/v1"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1\n"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1#part"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1#"),
        ("OPENAI_BASE_URL", "http://a b/v1"),
        ("OPENAI_BASE_URL", "http://a%00b/v1"),
        ("OPENAI_BASE_URL", "http://☃.x/v1"),
        ("OPENAI_BASE_URL", "http://x/☃"),
        ("ILAB_CHAT_HEARTBEAT_SECONDS", "1e-7"),
        ("ILAB_MEMORY_DB_PATH", "  "),
        ("ILAB_CHAT_ADDRESS", "[127.0.0.1:0"),
        ("ILAB_CHAT_ADDRESS", "127.0.0.1]:0"),
        ("ILAB_CHAT_ADDRESS", "[127.0.0.1]:0"),
        ("ILAB_CHAT_ADDRESS", "[]:0"),
        ("ILAB_CHAT_ADDRESS", " 127.0.0.1:0"),
        ("ILAB_CHAT_ADDRESS", "127.0.0.1\n:0"),
        ("ILAB_CHAT_ADDRESS", "unix:relative"),
        ("ILAB_CHAT_ADDRESS", f"unix:/{'x' * 107}"),
        ("ILAB_CHAT_ADDRESS", "dns:///localhost:0"),
        ("ILAB_CHAT_ADDRESS", "*:0"),
        ("OPENAI_API_KEY", "clé"),
        ("ILAB_CHAT_ADDRESS", "50051"),
        ("ILAB_CHAT_ADDRESS", "localhost:http"),
        ("ILAB_CHAT_ADDRESS", "localhost:65536"),
        ("ILAB_CHAT_ADDRESS", ":50051"),
        ("ILAB_MEMORY_SESSION_TIMEOUT_HOURS", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        read({name: value})


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", "example.com:50051"])
def test_plaintext_beyond_loopback_is_refused_unless_asked_for_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match="ILAB_CHAT_ALLOW_PLAINTEXT"):
        read({"ILAB_CHAT_ADDRESS": address})
    plaintext = {"ILAB_CHAT_ADDRESS": address, "ILAB_CHAT_ALLOW_PLAINTEXT": "true"}
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_AUTH: "):
        read(plaintext)
    assert read({**plaintext, "ILAB_CHAT_AUTH": "none"}).address == address


TLS = {"ILAB_CHAT_TLS_CERT_FILE": "c", "ILAB_CHAT_TLS_KEY_FILE": "k"}
MTLS = {**TLS, "ILAB_CHAT_TLS_CLIENT_CA_FILE": "ca"}
TOKENS = {"ILAB_CHAT_AUTH": "tokens", "ILAB_CHAT_AUTH_TOKENS_FILE": "t"}
JWT = {
    "ILAB_CHAT_AUTH": "jwt",
    "ILAB_CHAT_JWT_JWKS": "https://issuer.example/jwks",
    "ILAB_CHAT_JWT_ISSUER": "i",
    "ILAB_CHAT_JWT_AUDIENCE": "a",
}
SPIFFE = {**MTLS, "ILAB_CHAT_AUTH": "spiffe", "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/a, spiffe://b.c/d/*"}
PUBLIC = {"ILAB_CHAT_ADDRESS": "0.0.0.0:50051"}


@cases(
    "environ",
    [TLS, MTLS, TOKENS, JWT, SPIFFE, {**PUBLIC, **TLS, **TOKENS}, {**PUBLIC, **TLS, "ILAB_CHAT_AUTH": "none"}],
)
def test_tls_and_auth_that_fit_together(environ: dict[str, str]) -> None:
    assert read(environ).tls_cert_file == environ.get("ILAB_CHAT_TLS_CERT_FILE", "")


@cases(
    ("environ", "name"),
    [
        ({"ILAB_CHAT_TLS_CERT_FILE": "c"}, "ILAB_CHAT_TLS_KEY_FILE"),
        ({"ILAB_CHAT_TLS_KEY_FILE": "k"}, "ILAB_CHAT_TLS_CERT_FILE"),
        ({"ILAB_CHAT_TLS_CLIENT_CA_FILE": "ca"}, "ILAB_CHAT_TLS_CERT_FILE"),
        ({"ILAB_CHAT_AUTH": "basic"}, "ILAB_CHAT_AUTH"),
        ({**PUBLIC, **TLS}, "ILAB_CHAT_AUTH"),
        ({**PUBLIC, **MTLS}, "ILAB_CHAT_AUTH"),
        ({**PUBLIC, **TOKENS}, "ILAB_CHAT_ADDRESS"),
        ({"ILAB_CHAT_AUTH": "tokens"}, "ILAB_CHAT_AUTH_TOKENS_FILE"),
        ({"ILAB_CHAT_AUTH_TOKENS_FILE": "t"}, "ILAB_CHAT_AUTH_TOKENS_FILE"),
        ({**TOKENS, "ILAB_CHAT_JWT_JWKS": "f"}, "ILAB_CHAT_JWT_JWKS"),
        ({**JWT, "ILAB_CHAT_JWT_JWKS": ""}, "ILAB_CHAT_JWT_JWKS"),
        ({**JWT, "ILAB_CHAT_JWT_AUDIENCE": ""}, "ILAB_CHAT_JWT_AUDIENCE"),
        ({**JWT, "ILAB_CHAT_JWT_ISSUER": ""}, "ILAB_CHAT_JWT_ISSUER"),
        ({**JWT, "ILAB_CHAT_JWT_JWKS": "http://issuer.example/jwks"}, "ILAB_CHAT_JWT_JWKS"),
        ({**JWT, "ILAB_CHAT_JWT_JWKS": "ftp://issuer.example/jwks"}, "ILAB_CHAT_JWT_JWKS"),
        ({**JWT, "ILAB_CHAT_JWT_ALGORITHMS": "HS256"}, "ILAB_CHAT_JWT_ALGORITHMS"),
        ({**JWT, "ILAB_CHAT_JWT_ALGORITHMS": "RS256,none"}, "ILAB_CHAT_JWT_ALGORITHMS"),
        ({**JWT, "ILAB_CHAT_JWT_ALGORITHMS": ","}, "ILAB_CHAT_JWT_ALGORITHMS"),
        ({**JWT, "ILAB_CHAT_JWT_LEEWAY_SECONDS": "-1"}, "ILAB_CHAT_JWT_LEEWAY_SECONDS"),
        ({**SPIFFE, "ILAB_CHAT_TLS_CLIENT_CA_FILE": ""}, "ILAB_CHAT_TLS_CLIENT_CA_FILE"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": ""}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "*"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/*/a"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/a*"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "https://example.org/a"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/a/../b"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/a/./*"}, "ILAB_CHAT_SPIFFE_IDS"),
        ({**SPIFFE, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/a/"}, "ILAB_CHAT_SPIFFE_IDS"),
    ],
)
def test_tls_and_auth_that_do_not_fit_together_name_the_variable(environ: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        read(environ)


@pytest.mark.parametrize("path", ["./memory.db", "other.db"])
def test_there_is_one_memory(path: str) -> None:
    url = {"ILAB_MEMORY_URL": "postgresql://ilab:hunter2@db/memory"}
    assert read(url).memory_url == "postgresql://ilab:hunter2@db/memory"
    for arguments in (({**url, "ILAB_MEMORY_DB_PATH": path},), (url, {"memory_db_path": path})):
        with pytest.raises(SettingsError, match=r"^ILAB_MEMORY_URL: .*ILAB_MEMORY_DB_PATH") as told:
            read(*arguments)
        assert "hunter2" not in str(told.value)


def test_unknown_variables_are_named_with_the_setting_that_is_meant() -> None:
    environ = {
        "ILAB_CHAT_WORKER": "secret",
        "ILAB_MEMORY_PATH": "secret",
        "ILAB_CHAT_XYZZY": "secret",
        "ILAB_CHTA_AUTH": "secret",
        "ILAB_METRICS_ADDRESS": "secret",
        "ILAB_CHAT_OPENAI_MODEL": "secret",
        # Of another program.
        "ILAB_POSTGRES_PASSWORD": "secret",
        "ILAB_CHAT_WORKERS": "2",
        # Of the client and the gateway, and of Kubernetes for a Service ilab-chat.
        "ILAB_CHAT_TOKEN": "secret",
        "ILAB_CHAT_GATEWAY_ADDRESS": "127.0.0.1:8080",
        "ILAB_CHAT_SERVICE_HOST": "10.0.0.1",
        "ILAB_CHAT_SERVICE_PORT_GRPC": "50051",
        "ILAB_CHAT_PORT": "tcp://10.0.0.1:50051",
        "ILAB_CHAT_PORT_50051_TCP_ADDR": "10.0.0.1",
    }
    assert list(unknown(environ)) == [
        ("ILAB_CHAT_OPENAI_MODEL", "OPENAI_MODEL"),
        ("ILAB_CHAT_WORKER", "ILAB_CHAT_WORKERS"),
        ("ILAB_CHAT_XYZZY", ""),
        ("ILAB_CHTA_AUTH", "ILAB_CHAT_AUTH"),
        ("ILAB_MEMORY_PATH", "ILAB_MEMORY_DB_PATH"),
        ("ILAB_METRICS_ADDRESS", "ILAB_CHAT_METRICS_ADDRESS"),
    ]


@pytest.mark.parametrize("address", ["::1:50051", "2001:db8::1", "[::1:50051", "[::g]:1"])
def test_address_with_an_ipv6_address_needs_brackets(address: str) -> None:
    with pytest.raises(SettingsError, match=r"ILAB_CHAT_ADDRESS: .* in brackets, for instance \[::1\]:50051"):
        read({"ILAB_CHAT_ADDRESS": address})


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_no_permission(address: str) -> None:
    assert read({"ILAB_CHAT_ADDRESS": address}).address == address


def test_a_secret_is_not_in_the_repr() -> None:
    secrets = {"OPENAI_API_KEY": "sk-123", "ILAB_MEMORY_URL": "postgresql://ilab:sk-123@db/memory"}
    assert "sk-123" not in repr(read(secrets))


def test_every_setting_has_its_own_variable_and_a_reason() -> None:
    fields = dataclasses.fields(Settings)
    assert len({field.metadata["env"] for field in fields}) == len(fields)
    assert all(field.metadata["why"] for field in fields)


#: An invalid value for each type of setting. The text is how `os.environ` shows bytes that are not UTF-8.
BAD = {"int": "many", "float": "nan", "bool": "perhaps", "str": "caf\udce9"}


@cases("field", dataclasses.fields(Settings))
def test_a_bad_value_of_any_setting_is_one_line_with_its_name_and_exit_code_2(
    field: dataclasses.Field[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = field.metadata["env"]
    monkeypatch.setattr("os.environ", {name: BAD[str(field.type)]})
    assert main([]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ilab-chat-server: {name}: must be ")


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "ILAB_CHAT_LOG_KEY"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_is_read_from_a_file(tmp_path: Path, name: str, end: str) -> None:
    (tmp_path / "secret").write_text(f"s3cret{end}")
    assert read({f"{name}_FILE": str(tmp_path / "secret")}) == read({name: "s3cret"})


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "one line"), (b"\n", "one line"), (b"a\nb\n", "one line"), (b"\xff", "UTF-8")],
)
def test_unusable_secret_file_is_named_by_its_variable(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingsError, match=rf"^OPENAI_API_KEY_FILE: .*{said}"):
        read({"OPENAI_API_KEY_FILE": str(tmp_path / "secret")})


def test_secret_and_its_file_conflict(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    with pytest.raises(SettingsError, match=r"^OPENAI_API_KEY_FILE: conflicts with OPENAI_API_KEY"):
        read({"OPENAI_API_KEY_FILE": str(tmp_path / "secret"), "OPENAI_API_KEY": "k"})


def test_other_settings_are_not_read_from_files() -> None:
    assert read({"ILAB_CHAT_LOG_LEVEL_FILE": "/etc/passwd"}) == Settings()


def test_workers_get_the_secret_and_not_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "secret"))
    settings = read({"OPENAI_API_KEY_FILE": str(tmp_path / "secret")})
    assert read(variables(settings)) == settings


def test_version_names_the_build_and_what_it_runs_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILAB_CHAT_BUILD", "abc1234")
    assert main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"ilab-chat-server \S+ \(build abc1234, Python \S+, grpcio \S+, ilab-memory \S+, SQLite \S+\)\n", printed
    )
