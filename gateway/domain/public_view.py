"""What callers with ``view: public`` may know: nothing about providers, and only sealed ids (docs/access.md)."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.domain.errors import NotFound
from gateway.domain.ids import b64url_bytes, bytes_from_b64url

PREFIX: Final = "pub_"
_LONGEST: Final = 8000
_PURPOSE: Final = [b"runtime id"]


@dataclass(frozen=True, slots=True, repr=False)
class PublicView:
    """Seals ids with AES-SIV: the same id always gives the same text, and nothing but ``key`` is needed to open it.
    ``words`` are the names of providers and scopes, which no text for these callers may contain."""

    key: bytes
    words: frozenset[str] = frozenset()
    _cipher: AESSIV = field(init=False, compare=False)
    _hidden: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        derived = hashlib.blake2b(_PURPOSE[0], key=self.key, digest_size=64).digest()
        words = "|".join(map(re.escape, sorted(self.words, key=len, reverse=True)))
        object.__setattr__(self, "_cipher", AESSIV(derived))
        object.__setattr__(self, "_hidden", re.compile(rf"(?<![A-Za-z0-9])(?:{words or '(?!)'})(?![A-Za-z0-9])"))

    def seal(self, runtime_id: str) -> str:
        return PREFIX + b64url_bytes(self._cipher.encrypt(runtime_id.encode(), _PURPOSE))

    def unseal(self, public_id: str) -> str:
        """The id that :meth:`seal` sealed. Raises :class:`NotFound` for anything else."""
        try:
            if not public_id.startswith(PREFIX) or len(public_id) > _LONGEST:
                raise ValueError(public_id)  # noqa: TRY301 (one error for all that is not a public id)
            return self._cipher.decrypt(bytes_from_b64url(public_id.removeprefix(PREFIX)), _PURPOSE).decode()
        except (ValueError, InvalidTag) as exc:
            raise NotFound("There is no runtime of this id.") from exc

    def text(self, text: str, otherwise: str) -> str:
        """The text, or another one if it names a provider or a scope."""
        return otherwise if self._hidden.search(text) else text
