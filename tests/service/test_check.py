"""`ilab-chat-server check` as a process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certificates import Authority
from ilab_chat_service import check
from ilab_chat_service.settings import Settings
from postgres import Cluster
from processes import run_server, running_server
from upstream import Reply, Request, Upstream, running

SECRET = "sk-S3CRET"


def lines(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines that a check printed. Assert that its exit code matches them and that no secret is printed."""
    said = ended.stdout.splitlines()
    assert "S3CRET" not in ended.stdout + ended.stderr
    assert ended.returncode == (2 if any(line.startswith("FAILED ") for line in said) else 0), ended.stderr
    return said


@pytest.fixture
def database(tmp_path: Path) -> dict[str, str]:
    return {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db")}


def models(folder: Path, text: str) -> dict[str, str]:
    path = folder / "models.toml"
    path.write_text(text)
    return {"ILAB_CHAT_MODELS_FILE": str(path)}


def test_everything_works_with_the_embedded_model(database: dict[str, str]) -> None:
    assert lines(run_server("check", **database)) == [
        "ok     settings",
        "ok     auth none",
        f"ok     memory {database['ILAB_MEMORY_DB_PATH']}",
        "ok     model SmolLM2-135M-Instruct, embedded",
    ]


def test_check_asks_each_model_for_one_token(tmp_path: Path, database: dict[str, str], upstream: Upstream) -> None:
    url = upstream.base_url
    text = f"default = 'b'\n[models.a]\nbase_url = '{url}'\n[models.b]\nmodel = 'big'\nbase_url = '{url}'\n"
    place = f"127.0.0.1:{upstream.server_port}"
    said = lines(run_server("check", **database, **models(tmp_path, text)))
    assert said[-2:] == [f"ok     model b (big) at {place}", f"ok     model a at {place}"]
    assert sorted((sent.body["model"], sent.body["max_tokens"]) for sent in upstream.requests) == [("a", 1), ("big", 1)]


def test_failures_show_status_code_and_errno(tmp_path: Path, database: dict[str, str]) -> None:
    def answer(request: Request) -> Reply:
        status, code = {
            "key": (401, "invalid_api_key"),
            "gone": (404, "model_not_found"),
            "busy": (429, f"not a code {SECRET}"),
        }[request.body["model"]]
        return Reply(status=status, body=json.dumps({"error": {"message": SECRET, "code": code}}).encode())

    with running(answer) as upstream:
        tables = [f"[models.{name}]\nbase_url = '{upstream.base_url}'\n" for name in ("key", "gone", "busy")]
        text = "default = 'key'\n" + "".join(tables) + "[models.down]\nbase_url = 'http://127.0.0.1:1'\n"
        said = lines(run_server("check", **database, **models(tmp_path, text)))
    place = f"127.0.0.1:{upstream.server_port}"
    assert said[-4:] == [
        f"FAILED model key at {place}: HTTP 401 invalid_api_key",
        f"FAILED model gone at {place}: HTTP 404 model_not_found",
        f"FAILED model busy at {place}: HTTP 429",
        "FAILED model down at 127.0.0.1:1: connection failed ECONNREFUSED",
    ]
    assert len(upstream.requests) == 3


def refusing(field: str, code: str, refused: Callable[[Request], bool]) -> Callable[[Request], Reply]:
    body = json.dumps({"error": {"message": f"'{field}' is refused", "param": field, "code": code}}).encode()
    return lambda request: (
        Reply(status=400, body=body) if refused(request) else Reply(pieces=(), finish_reason="length")
    )


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (refusing("stream_options", "unknown_parameter", lambda sent: "stream_options" in sent.body), 2),
        (refusing("max_tokens", "unsupported_parameter", lambda sent: "max_tokens" in sent.body), 2),
        (refusing("max_tokens", "integer_below_min_value", lambda sent: sent.body.get("max_tokens", 99) < 16), 2),
        (refusing("", "", lambda sent: "max_tokens" in sent.body), 3),
    ],
)
def test_model_that_rejects_our_fields_or_a_small_limit_passes(
    database: dict[str, str], answer: Callable[[Request], Reply], asked: int
) -> None:
    with running(answer) as upstream:
        said = lines(run_server("check", **database, OPENAI_BASE_URL=upstream.base_url))
    assert said[-1] == f"ok     model gpt-4o-mini at 127.0.0.1:{upstream.server_port}"
    assert len(upstream.requests) == asked


async def test_check_of_a_silent_model_times_out(
    settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "MODEL_SECONDS", 0.2)
    upstream.replies(Reply(hold_before=0))
    [result] = [each async for each in check.check_models(settings)]
    place = f"127.0.0.1:{upstream.server_port}"
    assert str(result) == f"FAILED model test-model at {place}: no answer within 0.2 s"


async def test_line_break_in_a_model_name_is_escaped(settings: Settings, upstream: Upstream) -> None:
    [result] = [each async for each in check.check_models(replace(settings, openai_model="a\nb"))]
    assert str(result).startswith("ok     model a\\nb at ")


def test_all_parts_are_checked_even_if_one_fails(tmp_path: Path) -> None:
    settings = {
        "ILAB_CHAT_TLS_CERT_FILE": "/none.pem",
        "ILAB_CHAT_TLS_KEY_FILE": "/none.key",
        "ILAB_CHAT_AUTH": "tokens",
        "ILAB_CHAT_AUTH_TOKENS_FILE": "/none",
        "ILAB_MEMORY_DB_PATH": "/proc/none/memory.db",
    }
    said = lines(run_server("check", **settings, **models(tmp_path, f"[models.m]\napi_key_env = '{SECRET}'\n")))
    assert said[0] == "ok     settings"
    for line, start in zip(
        said[1:],
        (
            "FAILED TLS: ILAB_CHAT_TLS_CERT_FILE",
            "FAILED auth: ILAB_CHAT_AUTH_TOKENS_FILE: /none: No such file",
            "FAILED memory: ILAB_MEMORY_DB_PATH: /proc/none/memory.db: ",
            f"FAILED models: ILAB_CHAT_MODELS_FILE: {tmp_path}/models.toml: line 2: models.m.api_key_env: must be ",
        ),
        strict=True,
    ):
        assert line.startswith(start)


def test_result_names_valid_files(tmp_path: Path, database: dict[str, str], upstream: Upstream) -> None:
    certificate, key = Authority().server().write(tmp_path, "server")
    (tmp_path / "tokens").write_text(f"{SECRET}{'x' * 32}\n")
    settings = {
        "ILAB_CHAT_TLS_CERT_FILE": certificate,
        "ILAB_CHAT_TLS_KEY_FILE": key,
        "ILAB_CHAT_AUTH": "tokens",
        "ILAB_CHAT_AUTH_TOKENS_FILE": str(tmp_path / "tokens"),
        "OPENAI_BASE_URL": upstream.base_url,
    }
    said = lines(run_server("check", **database, **settings))
    assert said[1:3] == [f"ok     TLS {certificate}", "ok     auth tokens"]


@pytest.mark.parametrize("place", ["jwks", "http://127.0.0.1:1/jwks"])
def test_unreadable_keys_are_a_failure(
    tmp_path: Path, database: dict[str, str], upstream: Upstream, place: str
) -> None:
    (tmp_path / "jwks").write_text('{"keys": []}')
    settings = {
        "ILAB_CHAT_AUTH": "jwt",
        "ILAB_CHAT_JWT_JWKS": place if "://" in place else str(tmp_path / place),
        "ILAB_CHAT_JWT_ISSUER": "i",
        "ILAB_CHAT_JWT_AUDIENCE": "a",
        "OPENAI_BASE_URL": upstream.base_url,
    }
    said = lines(run_server("check", **database, **settings))
    assert said[1].startswith("FAILED auth: ILAB_CHAT_JWT_JWKS: ")


def test_invalid_setting_is_the_only_line() -> None:
    ended = run_server("check", ILAB_CHAT_WORKERS="many")
    assert lines(ended) == ["FAILED settings: ILAB_CHAT_WORKERS: must be a whole number"]
    assert not ended.stderr


@pytest.mark.parametrize("arguments", [("--workers", "2", "check"), ("check", "--workers", "2"), ("check",)])
def test_options_may_precede_or_follow_check_which_does_not_serve(
    database: dict[str, str], upstream: Upstream, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_server(*arguments, ILAB_CHAT_ADDRESS=address, OPENAI_BASE_URL=upstream.base_url, **database)
    assert len(lines(ended)) == 4
    assert ended.returncode == 0


def test_memory_in_postgresql(postgres: Cluster, upstream: Upstream) -> None:
    url = f"{postgres.create_database()}&password={SECRET}"
    settings = {"OPENAI_BASE_URL": upstream.base_url, "ILAB_CHAT_WORKERS": "2"}
    assert (
        f"ok     memory postgresql://{postgres.folder}/"
        in lines(run_server("check", ILAB_MEMORY_URL=url, **settings))[2]
    )
    missing = url.replace("/test", "/none")
    assert lines(run_server("check", ILAB_MEMORY_URL=missing, **settings))[2].startswith(
        "FAILED memory: ILAB_MEMORY_URL: "
    )


@pytest.mark.parametrize("arguments", [("serve",), ("serve", "--log-level", "INFO"), ("--log-level", "INFO", "serve")])
def test_serve_is_the_default_subcommand(
    database: dict[str, str], upstream: Upstream, arguments: tuple[str, ...]
) -> None:
    with running_server(arguments=arguments, **database, OPENAI_BASE_URL=upstream.base_url) as server:
        assert server.stop() == 0


def test_help_lists_the_subcommands() -> None:
    said = run_server("--help").stdout
    assert "usage: ilab-chat-server [serve | check] [OPTION ...]" in said
    assert "ask each" in said


def test_help_has_groups_and_a_mistyped_option_is_suggested() -> None:
    said = run_server("--help").stdout
    groups = re.findall(r"^(\w+):$", said, re.MULTILINE)
    assert groups[-7:] == ["server", "security", "model", "memory", "consolidation", "limit", "telemetry"]
    assert "\nserver:\n  --address TEXT" in said
    assert re.fullmatch(r"ilab-chat-server \d+\.\d+\.\d+ \(.*\)\n", run_server("--version").stdout)
    mistyped = run_server("--adress", "127.0.0.1:1")
    assert mistyped.returncode == 2
    assert "unrecognized option --adress (did you mean --address?)" in mistyped.stderr


def test_unknown_subcommand_is_rejected() -> None:
    ended = run_server("chekc")
    assert ended.returncode == 2
    assert "choose from 'serve', 'check'" in ended.stderr
