"""Hot reload of files that are written while they are read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ilab_chat_service.file_reload import FileReload


def test_files_that_change_during_a_read_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = tmp_path / "certificate", tmp_path / "key"
    first.write_bytes(b"a")
    second.write_bytes(b"a")
    files = FileReload([str(first), str(second)], lambda *contents: b"".join(contents))

    def renew() -> None:
        """Replace the first file when the second is opened: opening a pipe for writing waits for its reader."""
        with (tmp_path / "pipe").open("wb") as pipe:
            (tmp_path / "new").write_bytes(b"b")
            (tmp_path / "new").rename(first)
            pipe.write(b"b")

    os.mkfifo(tmp_path / "pipe")
    second.unlink()
    second.symlink_to(tmp_path / "pipe")
    writer = threading.Thread(target=renew)
    writer.start()
    assert not files.refresh()
    writer.join()
    assert files.value == b"aa"
    assert "changed while it was read" in caplog.text
    second.unlink()
    second.write_bytes(b"b")
    assert files.refresh()
    assert files.value == b"bb"
