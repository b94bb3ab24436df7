"""The journal of the audit trail keeps what was appended until it is removed, also after the end of its process."""

import os
from pathlib import Path

import pytest

from gateway.storage import audit_journal
from gateway.storage.audit_journal import AuditJournal

BYTES = 1 << 20


@pytest.fixture
def journal(tmp_path: Path) -> AuditJournal:
    return AuditJournal(tmp_path / "deep" / "audit", BYTES)


def another(journal: AuditJournal) -> AuditJournal:
    """The journal of another process over the same folder: locks belong to open files, not to processes."""
    return AuditJournal(journal._folder, BYTES)


def drained(journal: AuditJournal) -> bytes:
    """The lines of all complete files, which are removed."""
    lines = b""
    while (found := journal.oldest()) is not None:
        lines += found[1]
        journal.remove(found[0])
    return lines


def test_a_file_is_complete_when_it_is_closed(journal: AuditJournal):
    """Not while its process appends to it, for no process."""
    assert journal.oldest() is None
    assert not journal.rotate()
    journal.append(b"one\n")
    journal.append(b"two\n")
    other = another(journal)
    assert journal.oldest() is None
    assert other.oldest() is None
    assert journal.rotate()
    journal.append(b"three\n")
    assert drained(other) == b"one\ntwo\n"
    assert journal.oldest() is None
    assert journal.rotate()
    assert drained(journal) == b"three\n"
    assert list(journal._folder.iterdir()) == []


def test_files_are_private(journal: AuditJournal):
    journal.append(b"one\n")
    (file,) = journal._folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert journal._folder.stat().st_mode & 0o777 == 0o700


def test_the_file_of_a_dead_process_is_complete(journal: AuditJournal):
    journal.append(b"one\n")
    assert journal._file is not None
    os.close(journal._file)  # what the end of a process does
    assert drained(another(journal)) == b"one\n"


def test_files_are_read_from_the_oldest_on(journal: AuditJournal):
    for number in range(5):
        journal.append(b"%d\n" % number)
        journal.rotate()
    assert drained(journal) == b"0\n1\n2\n3\n4\n"


def test_an_empty_file_that_another_process_finds_is_replaced(journal: AuditJournal, monkeypatch: pytest.MonkeyPatch):
    """The other process looks between the creation of a file and its lock."""
    lock, other = audit_journal._lock, another(journal)
    looked = []

    def late(file: int) -> bool:
        monkeypatch.setattr(audit_journal, "_lock", lock)
        looked.append(other.oldest())
        return lock(file)

    monkeypatch.setattr(audit_journal, "_lock", late)
    journal.append(b"one\n")
    assert looked == [None]
    journal.rotate()
    assert drained(other) == b"one\n"


def test_a_long_file_is_closed(journal: AuditJournal):
    line = b"x" * 1000 + b"\n"
    for _ in range(300):
        journal.append(line)
    found = journal.oldest()
    assert found is not None
    assert audit_journal._FILE_BYTES < len(found[1]) < BYTES
    journal.rotate()
    assert drained(journal) == line * 300


def test_a_full_journal_takes_lines_again_when_files_were_removed(journal: AuditJournal):
    """Files that another process left count too."""
    line = b"x" * 999 + b"\n"
    taken = BYTES // 1000
    for _ in range(taken):
        journal.append(line)
    with pytest.raises(OSError, match="full"):
        journal.append(line)
    journal.rotate()
    other = another(journal)
    assert other.oldest() is not None
    assert other.size == taken * 1000
    with pytest.raises(OSError, match="full"):
        other.append(line)
    assert drained(other) == line * taken
    other.append(line)


def test_a_line_that_the_disk_takes_only_in_part_is_taken_back(journal: AuditJournal, monkeypatch: pytest.MonkeyPatch):
    write = os.write
    journal.append(b"one\n")
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:2]))
    with pytest.raises(OSError, match="disk is full"):
        journal.append(b"two\n")
    monkeypatch.setattr(os, "write", write)
    journal.append(b"three\n")
    journal.rotate()
    assert drained(journal) == b"one\nthree\n"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AuditJournal(tmp_path / "file" / "audit", BYTES).append(b"one\n")
