"""Parsing the models file, and reporting errors in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch import cases
from ilab_chat_service.model.profiles import Profile
from ilab_chat_service.model.profiles_file import read_profiles
from ilab_chat_service.model.toml_lines import line_of
from ilab_chat_service.settings import Settings, SettingsError
from ilab_chat_service.values import Generation
from processes import run_server

SECRET = "sk-S3CRET"

#: A valid model of two lines, so that appended text begins on line 3.
MODEL = '[models.m]\nbase_url = "http://h/v1"\n'


def settings_for(folder: Path, text: str | bytes) -> Settings:
    path = folder / "models.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Settings(models_file=str(path))


def only_profile(folder: Path, text: str | bytes) -> Profile:
    [profile] = read_profiles(settings_for(folder, text), {})
    return profile


def fault_of(folder: Path, text: str | bytes, **environ: str) -> str:
    """Return the error of a file, without the file's name."""
    settings = settings_for(folder, text)
    with pytest.raises(SettingsError) as told:
        read_profiles(settings, environ)
    start, found, fault = str(told.value).partition(f"{settings.models_file}: ")
    assert (start, found) == ("ILAB_CHAT_MODELS_FILE: ", f"{settings.models_file}: ")
    assert "\n" not in fault
    assert "S3CRET" not in fault
    return fault


@cases(
    ("text", "line", "fault"),
    [
        # The file.
        ("", 1, "models: must have at least one table"),
        ("# nothing\n", 1, "models: must have at least one table"),
        ("models = 3", 1, "models: must have at least one table"),
        ("[[models]]\n", 1, "models: must have at least one table"),
        ("\n[model.m]\n", 2, "model: unknown key; did you mean models?"),
        ("defualt = 'm'\n", 1, "defualt: unknown key; did you mean default?"),
        ("timeout = 3\n", 1, "timeout: unknown key; possible: default, models"),
        ("]x", 1, "not valid TOML: Invalid statement"),
        (f"{MODEL}\nmodel = m\n", 4, "not valid TOML: Invalid value"),
        (f'{MODEL}model = """x', 3, "not valid TOML: Unterminated string"),
        (f"{MODEL}api_key_env = {SECRET}\n", 3, "not valid TOML: Invalid value"),
        (MODEL + MODEL, 3, "not valid TOML: Cannot declare ('models', 'm') twice"),
        (f"{MODEL}streaming = true\nstreaming = true\n", 4, "not valid TOML: Cannot overwrite a value"),
        # Keys and types.
        (f"{MODEL}base_ulr = 'x'\n", 3, "models.m.base_ulr: unknown key; did you mean base_url?"),
        (f"{MODEL}api_key = '{SECRET}'\n", 3, "models.m.api_key: unknown key; did you mean api_key_env?"),
        (f"{MODEL}colour = 1\n", 3, "models.m.colour: unknown key; possible: model, base_url, api_key_env,"),
        (f"{MODEL}defaults.temp = 1\n", 3, "models.m.defaults.temp: unknown key; possible: temperature, top_p,"),
        (f"{MODEL}[models.m.caps]\nmax_tokens = 1\n", 4, "models.m.caps.max_tokens: unknown key; did you mean max_"),
        ("models.m = 3", 1, "models.m: must be a table"),
        (f"{MODEL}model = 3\n", 3, "models.m.model: must be text"),
        (f"{MODEL}streaming = 'no'\n", 3, "models.m.streaming: must be true or false"),
        (f"{MODEL}context_window = true\n", 3, "models.m.context_window: must be a whole number from 1 to 100,000,000"),
        (f"{MODEL}context_window = 0\n", 3, "models.m.context_window: must be a whole number from 1 to 100,000,000"),
        (f"{MODEL}prompt_tokens = '9'\n", 3, "models.m.prompt_tokens: must be a whole number from 1 to 100,000,000"),
        (f"{MODEL}token_limit = 'max'\n", 3, "models.m.token_limit: must be one of max_completion_tokens, max_tokens,"),
        (f"{MODEL}system_role = 'bot'\n", 3, "models.m.system_role: must be one of developer, system, user"),
        (
            f"{MODEL}drop = ['temp']\n",
            3,
            "models.m.drop: each entry must be one of max_output_tokens, reasoning_effort",
        ),
        (f"{MODEL}drop = 'seed'\n", 3, "models.m.drop: must be a list, each one of max_output_tokens,"),
        (f"{MODEL}defaults = 1\n", 3, "models.m.defaults: must be a table"),
        (f"{MODEL}defaults.temperature = 3\n", 3, "models.m.defaults.temperature: must be a number from 0 to 2"),
        (f"{MODEL}defaults.temperature = nan\n", 3, "models.m.defaults.temperature: must be a number from 0 to 2"),
        (f"{MODEL}defaults.top_p = 0\n", 3, "models.m.defaults.top_p: must be a number above 0 and at most 1"),
        (
            f"{MODEL}defaults.stop_sequences = ['a', '']\n",
            3,
            "models.m.defaults.stop_sequences: each entry must be text of 1 to 256 char",
        ),
        (
            f"{MODEL}defaults.stop_sequences = ['a','b','c','d','e']\n",
            3,
            "models.m.defaults.stop_sequences: must be a list (at most 4)",
        ),
        (f"{MODEL}defaults.reasoning_effort = 'x'\n", 3, "models.m.defaults.reasoning_effort: must be one of none, mi"),
        (f"{MODEL}caps = {{ max_output_tokens = 0 }}\n", 3, "models.m.caps.max_output_tokens: must be a whole number"),
        (f"{MODEL}headers = {{ a = 'b', c = 4 }}\n", 3, "models.m.headers.c: must be text"),
        (f"{MODEL}[models.m.query]\na = 'b'\nc = 4\n", 5, "models.m.query.c: must be text"),
        # Names and their positions.
        ('[models."gpt-4.1"]\nbase_url = 3\n', 2, 'models."gpt-4.1".base_url: must be text'),
        ("models.m.base_url = 'http://h'\nmodels.m.model = 3\n", 2, "models.m.model: must be text"),
        ("[models]\n\nm = { base_url = 'http://h', x = 1 }\n", 3, "models.m.x: unknown key"),
        (f"{MODEL}body.a = '''\n[models.n]\nx = 1\n'''\ncolour = 1\n", 7, "models.m.colour: unknown key"),
        (f"{MODEL}drop = [\n  'seed',\n]\nstreaming = 1\n", 6, "models.m.streaming: must be true or false"),
        ('[models."a b"]\n', 1, 'models."a b": a name must have 1 to 128 visible ASCII characters'),
        ('[models."a\\nb"]\n', 1, 'models."a\\nb": a name must have 1 to 128 visible ASCII characters'),
        ('[models."clé"]\n', 1, 'models."cl\\u00e9": a name must have 1 to 128 visible ASCII characters'),
        (f"[models.{'m' * 129}]\n", 1, f"models.{'m' * 129}: a name must have 1 to 128 visible ASCII characters"),
        ('[models.""]\n', 1, 'models."": a name must have 1 to 128 visible ASCII characters'),
        # The default and fallbacks.
        (f"{MODEL}[models.n]\nbase_url='http://h'\n", 1, "default: must be set, because there are several models; po"),
        (f"default = 'mm'\n{MODEL}", 1, "default: must be the name of one of the models; did you mean m?"),
        (f"default = 3\n{MODEL}", 1, "default: must be the name of one of the models; possible: m"),
        (f"{MODEL}fallback = 'n'\n", 3, "models.m.fallback: must be the name of another model of this file; there is"),
        (f"{MODEL}fallback = 'm'\n", 3, "models.m.fallback: forms a cycle: m -> m"),
        (
            f"default = 'm'\n{MODEL}fallback = 'big2'\n[models.big]\nbase_url = 'http://h'\n",
            4,
            "models.m.fallback: must be the name of another model of this file; did you mean big?",
        ),
        (
            f"default = 'm'\n{MODEL}fallback = 'n'\n[models.n]\nbase_url = 'http://h'\nfallback = 'm'\n",
            4,
            "models.m.fallback: forms a cycle: m -> n -> m",
        ),
        # URLs and keys.
        ("[models.m]\nbase_url = 'h/v1'\n", 2, "models.m.base_url: must begin with http:// or https://"),
        (
            f"[models.m]\nbase_url = 'http://u:{SECRET}@h/v1/chat/completions?k={SECRET}'\n",
            2,
            "models.m.base_url: must not include the endpoint /chat/completions; you probably meant http://h/v1",
        ),
        (
            f"[models.m]\nbase_url = 'http://u:{SECRET}@h/v1'\napi_key_env = 'KEY'\n",
            2,
            "models.m.base_url: contains a login, and a key is set too",
        ),
        ("[models.m]\n", 1, "models.m.api_key_env: OPENAI_API_KEY is not set; set it, api_key_env or api_key_file"),
        (f"{MODEL}api_key_env = '{SECRET}'\n", 3, "models.m.api_key_env: must be the name of an environment variable,"),
        (f"{MODEL}api_key_env = 'S3CRET'\n", 3, "models.m.api_key_env: names an environment variable that is not set"),
        (f"{MODEL}api_key_env = 'BAD_KEY'\n", 3, "models.m.api_key_env: the key in the variable must consist of visib"),
        (f"{MODEL}api_key_file = '{SECRET}'\n", 3, "models.m.api_key_file: the file cannot be read: No such file"),
        (f"{MODEL}api_key_file = '/'\n", 3, "models.m.api_key_file: the file cannot be read: Is a directory"),
        (
            f"{MODEL}api_key_file = 'k'\napi_key_env = 'KEY'\n",
            3,
            "models.m.api_key_file: conflicts with api_key_env; a model has one key",
        ),
        (
            f"{MODEL}api_key_header = 'api-key'\n",
            3,
            "models.m.api_key_header: needs a key; set api_key_env or api_key_",
        ),
        (f"{MODEL}api_key_header = 'a b'\n", 3, "models.m.api_key_header: must be the name of a header that HTTP does"),
        # Headers, query and body.
        (f"{MODEL}headers.'a b' = 'x'\n", 3, 'models.m.headers."a b": must be the name of a header that HTTP does not'),
        (f'{MODEL}headers.a = "{SECRET}\\nx"\n', 3, "models.m.headers.a: must be visible ASCII text on one line"),
        (f'{MODEL}headers."a\\r\\nb" = "x"\n', 3, 'models.m.headers."a\\r\\nb": must be the name of a header'),
        (
            f"{MODEL}headers.Content-Length = '1'\n",
            3,
            "models.m.headers.Content-Length: must be the name of a header t",
        ),
        (
            f"{MODEL}headers.Host = 'x'\n",
            3,
            "models.m.headers.Host: must be the name of a header that HTTP does not se",
        ),
        (f"{MODEL}headers = {{ a = '1', A = '2' }}\n", 3, "models.m.headers.A: is set twice; a is sent in this header"),
        (
            f"{MODEL}api_key_env = 'KEY'\nheaders.authorization = '{SECRET}'\n",
            4,
            "models.m.headers.authorization: is set twice; the key is sent in this header too",
        ),
        (
            f"{MODEL}api_key_env = 'KEY'\napi_key_header = 'api-key'\nheaders.API-Key = '{SECRET}'\n",
            5,
            "models.m.headers.API-Key: is set twice; the key is sent in this header too",
        ),
        (
            "[models.m]\nbase_url = 'http://h/?api-version=1'\napi_version = '2'\n",
            3,
            "models.m.api_version: is set twice; the query has an api-version too",
        ),
        (
            "[models.m]\nbase_url = 'http://h/?a=1'\nquery.a = '2'\n",
            3,
            "models.m.query.a: is set twice; base_url has it too",
        ),
        (
            f"{MODEL}body.messages = []\n",
            3,
            "models.m.body.messages: is set by the server; use the other keys of the m",
        ),
        (f"{MODEL}[models.m.body]\nmax_tokens = 3\n", 4, "models.m.body.max_tokens: is set by the server; use the oth"),
        (f"{MODEL}body.n = 2\n", 3, "models.m.body.n: is set by the server"),
        (f"{MODEL}body.a = [{{ b = 2020-01-01 }}]\n", 3, "models.m.body.a.b: must be a JSON value; write dates"),
        (f"{MODEL}body.a = inf\n", 3, "models.m.body.a: must be a finite number"),
        (f"{MODEL}body.a = {2**64}\n", 3, "models.m.body.a: must be an integer of 64 bits"),
        # Keys that contradict each other.
        (
            f"{MODEL}drop = ['seed']\ndefaults.seed = 0\n",
            4,
            "models.m.defaults.seed: is never sent, because drop lists",
        ),
        (
            f"{MODEL}drop = ['stop_sequences']\ndefaults.stop_sequences = ['x']\n",
            4,
            "models.m.defaults.stop_sequences: is never sent, because drop l",
        ),
        (
            f"{MODEL}token_limit = 'none'\ncaps.max_output_tokens = 9\n",
            4,
            'models.m.caps.max_output_tokens: is never sent, because token_limit = "none"',
        ),
        (
            f"{MODEL}drop = ['max_output_tokens']\ncaps.max_output_tokens = 9\n",
            4,
            "models.m.caps.max_output_tokens: is never sent, because drop lists it",
        ),
        (
            f"{MODEL}caps.max_output_tokens = 9\ndefaults.max_output_tokens = 10\n",
            4,
            "models.m.defaults.max_output_tokens: must be at most caps.max_output_tokens",
        ),
        (
            f"{MODEL}context_window = 9\ncaps.max_output_tokens = 9\n",
            4,
            "models.m.caps.max_output_tokens: must be below context_window",
        ),
        (f"{MODEL}context_window = 9\nprompt_tokens = 9\n", 4, "models.m.prompt_tokens: must be below context_window"),
    ],
)
def test_error_names_line_key_and_alternatives(tmp_path: Path, text: str, line: int, fault: str) -> None:
    told = fault_of(tmp_path, text, KEY="k", BAD_KEY=f"{SECRET}\n")
    assert told.startswith(f"line {line}: {fault}"), told


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[models.m]\nmodel = '\xff'\n", "must be UTF-8 text"),
        (MODEL.encode("utf-16"), "must be UTF-8 text"),
        (b"x = " + b"[" * 10_000, "values are nested too deeply"),
    ],
)
def test_unreadable_content_is_reported_without_a_line(tmp_path: Path, content: bytes, fault: str) -> None:
    assert fault_of(tmp_path, content) == fault


@pytest.mark.parametrize(
    "content", [b"", b" \n", f"{SECRET}\n{SECRET}".encode(), f"{SECRET} x".encode(), b"\xef\xbb\xbfk"]
)
def test_error_of_an_invalid_key_file_does_not_quote_it(tmp_path: Path, content: bytes) -> None:
    key_file = tmp_path / "key"
    key_file.write_bytes(content)
    fault = fault_of(tmp_path, f"{MODEL}api_key_file = '{key_file}'\n")
    reason = "a key must consist of visible ASCII characters" if content.strip() else "the file is empty"
    assert fault == f"line 3: models.m.api_key_file: {reason}"


@pytest.mark.parametrize(("name", "reason"), [("", "Is a directory"), ("missing", "No such file or directory")])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=rf"^ILAB_CHAT_MODELS_FILE: {tmp_path / name}: {reason}$"):
        read_profiles(Settings(models_file=str(tmp_path / name)), {})


def test_file_that_is_too_large_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_MODELS_FILE: models\.toml is larger than 1,048,576 bytes$"):
        read_profiles(settings_for(tmp_path, b"#" * 1_048_577), {})


@pytest.mark.parametrize("workers", ["1", "2"])
def test_fault_is_one_line_on_standard_error_with_exit_code_2(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f"{MODEL}api_key_env = '{SECRET}'\n")
    ended = run_server(
        ILAB_CHAT_ADDRESS="127.0.0.1:0",
        ILAB_CHAT_WORKERS=workers,
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        ILAB_CHAT_MODELS_FILE=str(path),
    )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"ilab-chat-server: ILAB_CHAT_MODELS_FILE: {path}: line 3: models.m.api_key_env: must be ")


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "OPENAI_MODEL"])
def test_models_file_conflicts_with_variables(tmp_path: Path, name: str) -> None:
    ended = run_server(ILAB_CHAT_MODELS_FILE=str(tmp_path / "any.toml"), **{name: "http://h/v1"})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"ilab-chat-server: {name}: conflicts with ILAB_CHAT_MODELS_FILE")


def test_key_comes_from_the_variable_of_openai_without_a_base_url(tmp_path: Path) -> None:
    [profile] = read_profiles(settings_for(tmp_path, "[models.gpt-5]\n"), {"OPENAI_API_KEY": "k"})
    assert profile.url == "https://api.openai.com/v1/chat/completions"
    assert profile.token_limit == "max_completion_tokens"
    assert profile.key == "k"


def test_key_of_openai_is_not_sent_to_another_host(tmp_path: Path) -> None:
    [profile] = read_profiles(settings_for(tmp_path, MODEL), {"OPENAI_API_KEY": "k"})
    assert profile.key == ""


def test_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    text = MODEL.replace("\n", "\r\n").encode("utf-8-sig")
    assert only_profile(tmp_path, text).url == "http://h/v1/chat/completions"


def test_minimal_file_uses_the_defaults(tmp_path: Path) -> None:
    profile = only_profile(tmp_path, MODEL)
    assert (profile.name, profile.model, profile.prompt_tokens) == ("m", "m", 4000)
    assert (profile.streaming, profile.include_usage, profile.system_role) == (True, True, "system")
    assert profile.defaults == Generation()


@pytest.mark.parametrize(
    ("keys", "budget"),
    [
        ("", 4000),
        ("prompt_tokens = 9000", 9000),
        ("context_window = 1000", 750),
        ("context_window = 1000\ncaps.max_output_tokens = 400", 600),
        ("context_window = 1000\ndefaults.max_output_tokens = 100", 900),
        ("context_window = 1000\nprompt_tokens = 500", 500),
        ("context_window = 1000\nprompt_tokens = 999", 750),
        ("context_window = 1000\ncaps.max_output_tokens = 999", 1),
        ("context_window = 1", 1),
        ("context_window = 128000", 4000),
    ],
)
def test_prompt_budget_leaves_room_for_the_reply(tmp_path: Path, keys: str, budget: int) -> None:
    assert only_profile(tmp_path, f"{MODEL}{keys}\n").prompt_tokens == budget


def test_models_are_listed_with_the_default_first_and_no_secret(tmp_path: Path) -> None:
    text = f"default = 'n'\n{MODEL}[models.n]\nmodel = 'big'\nbase_url = 'http://u:{SECRET}@h:8/v1?k={SECRET}'\n"
    profiles = read_profiles(settings_for(tmp_path, text), {})
    assert [str(profile) for profile in profiles] == ["n (big) at h:8", "m at h"]


@cases(
    ("path", "line"),
    [(["a"], 1), (["b"], 2), (["b", "c"], 3), (["b", "x"], 2), (["b", "d", "e"], 7), (["x"], 1), (["b", "f"], 9)],
)
def test_line_of_a_key_or_its_table(path: list[str], line: int) -> None:
    text = "a = 1\n[b]\nc = '''\n[b.d]\ne = 1'''\n\nd = { e = 1 } # [b.x]\n[q]\n[b.f]\n"
    assert line_of(text, path) == line
