"""The settings of TLS at a listener, and the check of its certificate."""

import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.ports.section import Section

File = Annotated[str, Field(min_length=1)]


class TlsFault(Exception):
    """A file cannot be used. ``setting`` is ``cert`` or ``key``."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting
        self.message = message


class TlsSettings(Section):
    """The certificate of a listener, with those of its issuers, and its private key: files in PEM. Without them the
    listener speaks plain HTTP."""

    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("give both cert and key, or neither")
        return self

    @property
    def files(self) -> dict[str, Path]:
        return {name: Path(file) for name, file in (("cert", self.cert), ("key", self.key)) if file is not None}

    def relative_to(self, folder: Path) -> Self:
        """These settings with full paths; relative ones start at ``folder``."""
        return self.model_copy(update={name: str(folder / file) for name, file in self.files.items()})

    def context(self) -> ssl.SSLContext | None:
        """What a new connection needs, read from the files now; None without TLS. Raises :class:`TlsFault`."""
        files = self.files
        if not files:
            return None
        for setting, file in files.items():
            try:
                file.read_bytes()
            except OSError as exc:
                raise TlsFault(setting, f"the file {file} cannot be read: {exc.strerror}") from exc
        try:
            ssl.create_default_context(cafile=files["cert"])
        except ssl.SSLError as exc:
            raise TlsFault("cert", f"the file {files['cert']} holds no readable certificate in PEM format") from exc
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(files["cert"], files["key"], password="")
        except ssl.SSLError as exc:
            if exc.reason == "KEY_VALUES_MISMATCH":
                raise TlsFault("key", f"the key in {files['key']} is not that of the first certificate") from exc
            raise TlsFault("key", f"the file {files['key']} holds no readable private key in PEM format") from exc
        return context
