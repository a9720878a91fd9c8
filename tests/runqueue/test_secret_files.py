"""Secrets that are made once and kept for their owner alone."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from config.redaction import Redactor
from runqueue.embedded.secret_files import BadSecretFile, make_folder, secret_in


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_secret_is_its_owner_s_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "token"
    before = os.umask(umask)
    try:
        secret = secret_in(file)
    finally:
        os.umask(before)

    assert _mode(file) == 0o600
    assert file.read_text() == f"{secret}\n"
    assert len(secret) >= 40
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_secret_that_others_could_read_is_kept_from_them(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a-secret-of-an-operator\n")
    file.chmod(0o644)

    assert secret_in(file) == "a-secret-of-an-operator"
    assert _mode(file) == 0o600


def test_a_secret_for_others_keeps_the_mode_that_it_has(tmp_path: Path) -> None:
    made, there = tmp_path / "made", tmp_path / "there"
    there.write_text("a-secret-of-an-operator\n")
    there.chmod(0o640)

    for file in (made, there):
        secret_in(file, is_private=False)

    assert (_mode(made), _mode(there)) == (0o644, 0o640)


def test_processes_that_start_at_once_have_one_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(secret_in(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "token"

    assert secret_in(file) == secret_in(file)
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "16 or more"),
        (b"short\n", "16 or more"),
        (b"a secret\nof two lines", "16 or more"),
        ("ä".encode() * 20, "of ASCII"),
        (b"\xff", "no text"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_and_not_told(
    tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(BadSecretFile, match=told) as refused:
        secret_in(file)
    assert "short" not in str(refused.value)


def test_a_file_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "token"

    with pytest.raises(BadSecretFile) as refused:
        secret_in(file)
    assert str(refused.value) == f"cannot use {file} (No such file or directory)"
    assert Redactor().text(str(refused.value)) == str(refused.value)


def test_git_sees_nothing_of_the_folder_of_secrets_and_its_owner_alone_reads_it(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        make_folder(tmp_path / "in" / "here")

    assert (tmp_path / "in/here/.gitignore").read_text() == "*\n"
    assert (tmp_path / "in/here").stat().st_mode & 0o777 == 0o700
