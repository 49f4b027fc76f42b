"""The file: what was written is read, and nothing else is; an interrupted write leaves the old file."""

import hashlib
import random
import struct

import pytest

from plait.ir import files
from plait.ir.errors import ArtifactError
from plait.runtime.artifact import container
from plait.runtime.artifact.container import MEMBERS, read, write

CONTENT = {name: f"{name} ".encode() * 50 for name in MEMBERS} | {"arrays": b""}


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "m.plait", CONTENT)
    return tmp_path / "m.plait"


def with_digest(body):
    return body + hashlib.sha256(body).digest()


def refused(path, content, says):
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_what_was_written_is_read(file):
    assert read(file) == CONTENT


def test_every_truncation_is_refused(file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        refused(file, whole[:length], "is no saved model|is damaged")


def test_every_bit_counts(file):
    whole = file.read_bytes()
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        refused(file, bytes(changed), "is no saved model|is damaged")


def test_noise_and_other_files_are_refused(file):
    random.seed(0)
    for content in (b"", b"x", b"PK\x03\x04" + bytes(100), random.randbytes(10_000), container.MAGIC, bytes(500)):
        refused(file, content, "is no saved model|is damaged")


def test_a_newer_format_is_told_from_damage(file):
    body = bytearray(file.read_bytes()[:-32])
    body[8:12] = struct.pack("<I", 2)
    refused(file, with_digest(bytes(body)), "has format 2, and this version of plait reads format 1")


def test_lengths_that_are_not_the_files_are_refused(file):
    body = bytearray(file.read_bytes()[:-32])
    for length in (0, 2**63, len(body)):
        body[12:20] = struct.pack("<Q", length)
        refused(file, with_digest(bytes(body)), "other lengths than the file")
    refused(file, with_digest(bytes(body[:20])), "ends within its header")


def test_a_member_that_is_parsed_is_bounded(file, monkeypatch):
    monkeypatch.setitem(container.LARGEST, "manifest", 10)
    with pytest.raises(ArtifactError, match="member 'manifest' has 450 bytes, of at most 10"):
        read(file)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(file, CONTENT | {"arrays": b"new"})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_file_is_replaced(file):
    write(file, CONTENT | {"arrays": b"new"})
    assert read(file)["arrays"] == b"new"
    assert [p.name for p in file.parent.iterdir()] == [file.name]
