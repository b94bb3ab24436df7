"""A sealed value can be unsealed only with its key and in its cell."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.ports.sealing import Cell, Unreadable
from gateway.storage.sealing import Keyring, KeyUnusable, key_from_file, new_key

CELL = Cell("intents", "in_1", "request")
PLAIN = b'{"password": "canary"}'


def test_a_sealed_value_is_unsealed():
    keys = Keyring([new_key()])
    for plain in (PLAIN, b"", bytes(100_000)):
        assert keys.unseal(keys.seal(plain, CELL), CELL) == plain


def test_seals_of_the_same_text_differ_and_do_not_contain_it():
    keys = Keyring([new_key()])
    sealed = {keys.seal(PLAIN, CELL) for _ in range(20)}
    assert len(sealed) == 20
    assert not any(b"canary" in one for one in sealed)


@pytest.mark.parametrize(
    "other", [replace(CELL, table="specs"), replace(CELL, row="in_2"), replace(CELL, column="outcome")]
)
def test_a_value_copied_to_another_cell_is_not_unsealed(other: Cell):
    keys = Keyring([new_key()])
    with pytest.raises(Unreadable):
        keys.unseal(keys.seal(PLAIN, CELL), other)


def test_fixed_seals_of_one_value_and_cell_are_equal_and_of_others_differ():
    keys = Keyring([new_key()])
    sealed = keys.seal_fixed(PLAIN, CELL)
    assert keys.seal_fixed(PLAIN, CELL) == sealed
    assert keys.unseal(sealed, CELL) == PLAIN
    assert b"canary" not in sealed
    others = [keys.seal_fixed(PLAIN + b" ", CELL), keys.seal_fixed(PLAIN, replace(CELL, row="in_2"))]
    assert len({sealed, *others, Keyring([new_key()]).seal_fixed(PLAIN, CELL)}) == 4
    for index in range(len(sealed)):
        for changed in (sealed[:index], sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]):
            with pytest.raises(Unreadable):
                keys.unseal(changed, CELL)
    with pytest.raises(Unreadable):
        keys.unseal(sealed, replace(CELL, row="in_2"))


def test_tags_are_equal_for_equal_documents_and_keys_only():
    key = new_key()
    keys, document = Keyring([key]), b'{"items": []}' * 5_000
    tag = keys.tag(document)
    assert len(tag) == 32
    assert Keyring([key, new_key()]).tag(bytes(document)) == tag
    changed = [document[:at] + bytes([document[at] ^ 1]) + document[at + 1 :] for at in (0, 15, 16, 31_000, 64_999)]
    others = [keys.tag(other) for other in (*changed, document[:-1], document + b" ", document + b"\0", b"", b"\0")]
    assert len({tag, *others, Keyring([new_key()]).tag(document)}) == 12


def test_fixed_seal_of_a_rotated_key_is_unsealed():
    old, new = new_key(), new_key()
    sealed = Keyring([old]).seal_fixed(PLAIN, CELL)
    assert Keyring([new, old]).unseal(sealed, CELL) == PLAIN
    with pytest.raises(Unreadable):
        Keyring([new]).unseal(sealed, CELL)


def test_a_changed_or_truncated_value_is_not_unsealed():
    keys = Keyring([new_key()])
    sealed = keys.seal(PLAIN, CELL)
    for index in range(len(sealed)):
        with pytest.raises(Unreadable):
            keys.unseal(sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :], CELL)
        with pytest.raises(Unreadable):
            keys.unseal(sealed[:index], CELL)


def test_a_rotated_key_unseals_but_does_not_seal():
    old, new = new_key(), new_key()
    before, both, after = Keyring([old]), Keyring([new, old]), Keyring([new])
    sealed = before.seal(PLAIN, CELL)
    assert both.unseal(sealed, CELL) == PLAIN
    assert after.unseal(both.seal(PLAIN, CELL), CELL) == PLAIN
    with pytest.raises(Unreadable):
        after.unseal(sealed, CELL)


def test_a_digest_uses_the_key_of_its_version():
    old, new = new_key(), new_key()
    before, both, after = Keyring([old]), Keyring([new, old]), Keyring([new])
    version, document = before.digest_version, {"kind": "durable"}
    made = before.digest("create", document, version)
    assert both.digest("create", document, version) == made
    assert both.digest_version == after.digest_version != version
    assert both.digest("create", document, both.digest_version) != made
    for unknown in (version, f"9.{after.digest_version.partition('.')[2]}", "", "1"):
        with pytest.raises(Unreadable):
            after.digest("create", document, unknown)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "at least one"),
        ([SecretStr("not base64!")], "base64"),
        ([SecretStr("ümlaut")], "base64"),
        ([SecretStr(base64.b64encode(bytes(31)).decode())], "32 bytes"),
        ([SecretStr(base64.b64encode(bytes(32)).decode())] * 2, "twice"),
    ],
)
def test_an_unusable_key_is_reported_without_its_value(keys: list[SecretStr], why: str):
    with pytest.raises(KeyUnusable, match=why) as caught:
        Keyring(keys)
    assert not any(key.get_secret_value() in str(caught.value) for key in keys)


def test_a_key_file_is_created_once_with_mode_0600(tmp_path: Path):
    """Also when several processes start at the same moment. No temporary file remains."""
    path = tmp_path / "store.key"
    with ThreadPoolExecutor(8) as threads:
        keys = {key.get_secret_value() for key in threads.map(lambda _: key_from_file(path), range(16))}
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    Keyring([key_from_file(path)])


def test_a_key_file_that_others_may_read_is_rejected(tmp_path: Path):
    path = tmp_path / "store.key"
    key_from_file(path)
    path.chmod(0o640)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        key_from_file(path)


def test_a_key_file_without_a_key_is_rejected_and_not_replaced(tmp_path: Path):
    """With a new key, everything sealed with the truncated one would be lost."""
    path = tmp_path / "store.key"
    path.touch(0o600)
    with pytest.raises(KeyUnusable):
        key_from_file(path)
    assert path.read_bytes() == b""
