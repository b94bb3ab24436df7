"""The settings of the public view."""

import base64
from pathlib import Path

import pytest

from gateway.settings import AuthSettings
from tests.unit.settings.conftest import PROVIDERS, Faults, Load

KEY = base64.b64encode(b"k" * 32).decode()


def text(principal: str, more: str = f"public_id_key: {KEY}") -> str:
    """A settings file with a principal."""
    return (
        f"version: 1\nauth: {{principals: {{web: {{keys: [0123456789abcdef-web], {principal}}}}}, {more}}}\n{PROVIDERS}"
    )


def test_principal_has_the_view_with_the_key(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    loaded = [load(text("view: public")), load(text("view: public", "public_id_key: file:key"))]
    for one in loaded:
        assert isinstance(one.settings.auth, AuthSettings)
        (principal,) = one.settings.auth.principals_by_digest().values()
        assert principal.view is not None
        assert principal.shown_id("main.1") != "main.1"
    assert KEY not in repr(loaded)
    full = load(text("view: full")).settings.auth
    assert isinstance(full, AuthSettings)
    (principal,) = full.principals_by_digest().values()
    assert principal.view is None


@pytest.mark.parametrize(
    ("principal", "more", "path"),
    [
        ("view: public", "jwt: []", "auth"),
        ("view: public", "public_id_key: AAAA", "auth.public_id_key"),
        ("view: public", "public_id_key: short!", "auth.public_id_key"),
        ("view: none", f"public_id_key: {KEY}", "auth.principals.web.view"),
        ("view: public, scopes: [admin]", f"public_id_key: {KEY}", "auth.principals.web"),
    ],
)
def test_view_that_cannot_work_is_a_fault(faults: Faults, principal: str, more: str, path: str) -> None:
    assert list(faults(text(principal, more))) == [path]
