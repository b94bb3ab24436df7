"""Secrets in separate files: a secret setting with the value ``file:PATH`` has the content of that file."""

from pathlib import Path as FilePath
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from gateway.settings.document import Path, Problems

_PREFIX: Final = "file:"
_MAX_BYTES: Final = 64 << 10

Stamp = tuple[int, int, int] | None
"""Identifies a version of a file: modification time in ns, size, inode. None: the file cannot be read."""


def stamp(file: FilePath) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def with_secret_files(
    annotation: Any, value: Any, at: Path, folder: FilePath, problems: Problems, files: dict[FilePath, Stamp]
) -> Any:
    """Return ``value`` with each secret of the form ``file:PATH`` replaced by the content of the file.

    ``annotation`` is the type of ``value``; only values of the type ``SecretStr`` are replaced. A relative path starts
    at ``folder``. One newline at the end of a file is not part of the secret. The stamp of each file, taken before the
    file is read, is added to ``files``. A file that cannot be read or has more than 64 KiB is added to ``problems``.
    """
    if annotation is SecretStr:
        if isinstance(value, str) and value.startswith(_PREFIX):
            file = folder / value.removeprefix(_PREFIX)
            files[file] = stamp(file)
            return _content(file, at, problems)
        return value
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, dict):
        fields = annotation.model_fields
        return {
            key: with_secret_files(fields[key].annotation, inner, (*at, key), folder, problems, files)
            if key in fields
            else inner
            for key, inner in value.items()
        }
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict and isinstance(value, dict):
        return {
            key: with_secret_files(arguments[1], inner, (*at, key), folder, problems, files)
            for key, inner in value.items()
        }
    if origin is list and isinstance(value, list):
        return [
            with_secret_files(arguments[0], inner, (*at, str(index)), folder, problems, files)
            for index, inner in enumerate(value)
        ]
    if origin in {Union, UnionType} or hasattr(annotation, "__metadata__"):
        for argument in arguments if origin in {Union, UnionType} else arguments[:1]:
            value = with_secret_files(argument, value, at, folder, problems, files)
    return value


def _content(file: FilePath, at: Path, problems: Problems) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            problems.add(at, f"the file {file} is larger than {_MAX_BYTES} bytes")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        problems.add(at, f"the file {file} cannot be read: {reason}")
        return ""
