"""Files named by path: only regular ones below the allowed folders, whatever the path looks like."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.payload import Media
from deployments.tasks.forms import LocalMedia
from graph import files
from graph.config import FetchConfig, FilesConfig
from graph.fetch import Fetcher
from graph.files import FileReader


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """``allowed/`` with files, links and what is no file; ``secret/`` beside it."""
    for name in ("allowed/inner", "secret", "allowed-not"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("allowed/cat.png", "allowed/inner/a cat.png", "secret/key", "allowed-not/key", "allowed/a#b?.png"):
        (tmp_path / name).write_bytes(name.encode())
    allowed = tmp_path / "allowed"
    (allowed / "link.png").symlink_to(allowed / "inner/a cat.png")
    (allowed / "out.png").symlink_to("../secret/key")
    (allowed / "folder-out").symlink_to("../secret")
    (allowed / "again").symlink_to("again")
    (allowed / "null").symlink_to("/dev/null")
    os.mkfifo(allowed / "pipe")
    return tmp_path


def read(disk: Path, source: str, **config: Any) -> bytes:
    reader = FileReader(FilesConfig(**{"allowed": [str(disk / "allowed")]} | config))
    return reader.read(LocalMedia(source.replace("DISK", str(disk)), "image", "inputs[2]")).data


GOOD = {
    "DISK/allowed/cat.png": b"allowed/cat.png",
    "file://DISK/allowed/cat.png": b"allowed/cat.png",
    "file:DISK/allowed/cat.png": b"allowed/cat.png",
    "FILE://localhostDISK/allowed/inner/a%20cat.png": b"allowed/inner/a cat.png",
    "file://DISK/allowed/a%23b%3F.png": b"allowed/a#b?.png",
    "DISK/allowed/./inner//a cat.png": b"allowed/inner/a cat.png",
    "DISK/allowed/inner/../cat.png": b"allowed/cat.png",
    "DISK/allowed/link.png": b"allowed/inner/a cat.png",
    "DISK/allowed/cat.png/": b"allowed/cat.png",
}


@pytest.mark.parametrize("source", GOOD)
def test_a_file_below_an_allowed_folder_is_read(disk: Path, source: str) -> None:
    assert read(disk, source) == GOOD[source]


BAD = [
    *("DISK/secret/key", "file://DISK/secret/key", "/etc/passwd", "file:///etc/passwd", "/proc/self/environ"),
    *("DISK/allowed/../secret/key", "file://DISK/allowed/%2e%2e/secret/key", "DISK/allowed/inner/../../secret/key"),
    *("DISK/allowed/out.png", "DISK/allowed/folder-out/key", "DISK/allowed/folder-out/../secret/key"),
    *("DISK/allowed-not/key", "DISK/allowed", "DISK/allowed/", "DISK/allowed/inner", "DISK", "/"),
    *("DISK/allowed/again", "DISK/allowed/null", "DISK/allowed/pipe", "/dev/zero", "/dev/stdin", "DISK/allowed/none"),
    *("file://elsewhereDISK/allowed/cat.png", "file://DISK/allowed/cat.png?x", "file://DISK/allowed/cat.png#x"),
    *("DISK/allowed/cat.png\0", "file://DISK/allowed/cat.png%00", "file://DISK/allowed/%ff"),
    *(
        "file:",
        "file://",
        "file:allowed/cat.png",
        "DISK/allowed/" + "x" * 300,
        "/" + "x/" * 5000,
        "DISK/allowed/cat.png/x",
    ),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("source", BAD, ids=lambda source: ascii(source)[:50])
def test_anything_else_is_refused_in_one_and_the_same_sentence(disk: Path, source: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(disk, source)
    assert caught.value.message == "`inputs[2]`: there is no such file among those that this server may read."
    assert caught.value.field == "inputs[2]"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("source", ["DISK/allowed/cat.png", "file:///etc/passwd", "DISK/none"])
def test_no_path_is_read_unless_a_folder_is_allowed(disk: Path, source: str) -> None:
    with pytest.raises(InvalidInputError, match=r"must be an image as base64, a data: URI or an http\(s\) URL"):
        read(disk, source, allowed=[])


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may be no longer than a hundred characters
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("one")
        with pytest.raises(InvalidInputError):
            FileReader(FilesConfig(allowed=[str(tmp_path)])).read(LocalMedia(str(tmp_path / "one"), "image", "inputs"))


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False), (10**9, False)])
def test_the_limit_of_a_file_holds(disk: Path, size: int, fits: bool) -> None:
    with (disk / "allowed/large").open("wb") as file:
        file.truncate(size)  # takes no room on the disk
    if fits:
        assert len(read(disk, "DISK/allowed/large", max_bytes=100)) == size
    else:
        with pytest.raises(PayloadTooLargeError, match="100 bytes"):
            read(disk, "DISK/allowed/large", max_bytes=100)


@pytest.mark.parametrize("what", ["the file", "its folder"])
def test_a_link_put_in_after_the_check_is_not_followed(disk: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The exchange happens at the worst moment: the path has been resolved and found good."""
    good = files._below

    def exchanged(path: Path, folders: Any) -> Any:
        found = good(path, folders)
        if len(folders) == 1:  # the check of what the path resolved to
            if what == "the file":
                (disk / "allowed/inner/a cat.png").unlink()
                (disk / "allowed/inner/a cat.png").symlink_to(disk / "secret/key")
            else:
                (disk / "secret/a cat.png").write_bytes(b"secret")
                (disk / "allowed/inner").rename(disk / "allowed/was")
                (disk / "allowed/inner").symlink_to(disk / "secret")
        return found

    monkeypatch.setattr(files, "_below", exchanged)
    with pytest.raises(InvalidInputError):
        read(disk, "DISK/allowed/inner/a cat.png")


def test_an_allowed_folder_may_itself_be_a_link(disk: Path) -> None:
    (disk / "other").symlink_to(disk / "allowed")
    for source in ("DISK/other/cat.png", "DISK/allowed/cat.png"):
        assert read(disk, source, allowed=[str(disk / "other")]) == b"allowed/cat.png"


def test_a_path_out_of_reach_is_not_looked_for(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that not even the time it takes tells whether there is such a file."""

    def looked(*_: Any, **__: Any) -> None:
        raise AssertionError("looked at the disk")

    reader = FileReader(FilesConfig(allowed=[str(disk / "allowed")]))
    monkeypatch.setattr(os.path, "realpath", looked)
    monkeypatch.setattr(os, "open", looked)
    with pytest.raises(InvalidInputError):
        reader.read(LocalMedia("/etc/passwd", "image", "inputs"))


def test_the_fetcher_reads_them_among_urls(disk: Path) -> None:
    async def run() -> Any:
        fetcher = Fetcher(FetchConfig(enabled=False), FilesConfig(allowed=[str(disk / "allowed")]))
        try:
            return await fetcher.fetch_all([{"image": LocalMedia(f"{disk}/allowed/cat.png", "image", "a")}, "text"])
        finally:
            await fetcher.close()

    assert asyncio.run(run()) == [{"image": Media(b"allowed/cat.png", "image", "a")}, "text"]
