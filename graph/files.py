"""Files of the router's machine that callers name by path: only below the folders that the configuration allows.

A path is resolved first, links and ``..`` included, and what it resolves to is checked. The file is then opened from
the allowed folder down, one component at a time and following no link, so that what is read is what was checked even
where somebody exchanges a folder for a link in between.
"""

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.payload import Media
from deployments.tasks.forms import LocalMedia, MediaOf
from graph.config import FilesConfig

_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW
# a pipe that took the file's place since it was looked at would otherwise wait for a writer
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class FileReader:
    """Reads `LocalMedia`.

    Args:
        config: the allowed folders, and the size of a file.
    """

    def __init__(self, config: FilesConfig) -> None:
        self._most = config.max_bytes
        # as written, to tell without a look at the disk what is out of reach; and as they are
        self._written = tuple(Path(os.path.normpath(folder)) for folder in config.allowed)
        self._folders = tuple(Path(folder).resolve() for folder in config.allowed)

    def read(self, local: LocalMedia) -> Media:
        """The file's bytes; may wait for the disk.

        Raises:
            InvalidInputError: no paths are read here, or there is no such regular file below an allowed folder.
            PayloadTooLargeError: it is over the limit.
        """
        if not self._folders:
            raise InvalidInputError(f"`{local.field}` must be {MediaOf(local.kind).says}.", local.field)
        try:
            data = self._read(_path(local.source))
        except (OSError, ValueError):
            raise InvalidInputError(
                f"`{local.field}`: there is no such file among those that this server may read.", local.field
            ) from None
        if len(data) > self._most:
            raise PayloadTooLargeError(f"`{local.field}`: the file is larger than {self._most} bytes.", local.field)
        return Media(data, local.kind, local.field)

    def _read(self, path: str) -> bytes:
        """The contents, or one byte more than the limit of them.

        Raises:
            OSError, ValueError: not to be read.
        """
        _below(Path(os.path.normpath(path)), self._written + self._folders)
        folder, parts = _below(Path(os.path.realpath(path, strict=True)), self._folders)
        descriptor = os.open(folder, _DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            return _regular(parts[-1], descriptor, self._most + 1)
        finally:
            os.close(descriptor)


def _below(path: Path, folders: tuple[Path, ...]) -> tuple[Path, tuple[str, ...]]:
    """The folder that ``path`` is in, and the way from there.

    Raises:
        ValueError: it is in none of them.
    """
    for folder in folders:
        if path != folder and path.is_relative_to(folder):
            return folder, path.relative_to(folder).parts
    raise ValueError("not in an allowed folder")


def _regular(name: str, folder: int, most: int) -> bytes:
    """Up to ``most`` bytes of a regular file in the folder of descriptor ``folder``.

    Raises:
        OSError: there is none of that name.
        ValueError: it is a device, a pipe or the like, which opening alone may set to work.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise ValueError("no regular file")
    with open(os.open(name, _FILE, dir_fd=folder), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        return file.read(most)


def _path(source: str) -> str:
    """The path in a ``file:`` URL, or ``source`` itself.

    Raises:
        ValueError: the URL names another machine, or has a query or fragment.
    """
    if not source.lower().startswith("file:"):
        return source
    parts = urlsplit(source)
    path = unquote(parts.path, errors="strict")
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.startswith("/"):
        raise ValueError("no file of this machine")
    return path
