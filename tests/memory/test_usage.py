"""The command `ilab-memory` names the option, subcommand or variable that may be meant."""

import pytest

from ilab_memory.command import main


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (("stat", "x.db"), "did you mean stats?"),
        (("stats", "--jsn", "x.db"), "did you mean --json?"),
        (("backup", "--form", "x.db", "y.db"), "did you mean --from?"),
        (("check", "--from", "x.db"), "it is an option of backup and copy"),
        (("--versoin", "stats", "x.db"), "did you mean --version?"),
    ],
)
def test_misspelt_argument_is_named(capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], hint: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(hint)


def test_misspelt_variable_is_named_and_those_of_a_server_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILAB_MEMORY_DB_PAHT", "secret")
    monkeypatch.setenv("ILAB_MEMORY_EMBEDDER", "none")
    monkeypatch.setenv("ILAB_MEMORY_RETENTION_DAYS", "7")
    assert main(("stats", "/proc/none")) == 2
    warning, _ = capsys.readouterr().err.splitlines()
    assert "ILAB_MEMORY_DB_PAHT" in warning
    assert warning.endswith("did you mean ILAB_MEMORY_DB_PATH?")
    assert "secret" not in warning
