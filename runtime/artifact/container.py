"""The file of a saved model: a few members of bytes, under one digest.

magic (8 bytes) | version (4) | length of each member (8 each) | the members | SHA-256 of all before (32)

Numbers are little-endian. The digest is at the end in every version, so a damaged file is told from a newer one. A file
is read whole, no further than its own length; nothing in it is looked at before the digest is right. A digest protects
from damage, not from people: whoever can write a file can write its digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

from plait.ir.errors import ArtifactError
from plait.ir.files import replaced

MAGIC = b"\x89plait\r\n"  # a first byte that is no text, and line ends that a transfer as text would change
VERSION = 1
MEMBERS = ("manifest", "graph", "explanation", "arrays", "functions")
LARGEST = {"manifest": 2**28, "graph": 2**30, "explanation": 2**28}  # bytes of what is parsed as JSON

_HEAD = struct.Struct("<8sI")
_LENGTHS = struct.Struct(f"<{len(MEMBERS)}Q")
_DIGEST = hashlib.sha256().digest_size


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes the file in one step: a crash leaves what was there before.

    Args:
        path: of the file, which is replaced where there is one.
        members: the bytes of each of `MEMBERS`.

    Raises:
        OSError: the file can't be written; what was there before stays.
    """
    bodies = [members[name] for name in MEMBERS]
    parts = [_HEAD.pack(MAGIC, VERSION), _LENGTHS.pack(*map(len, bodies)), *bodies]
    digest = hashlib.sha256()
    with replaced(path) as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.write(digest.digest())


def is_saved(path: Path) -> bool:
    """Whether a file begins as a saved model; False where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> dict[str, bytes]:
    """The members of a file.

    Raises:
        ArtifactError: it is no saved model, damaged, or of a newer format.
        OSError: the file can't be read.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ArtifactError(f"{path} is no saved model: it does not begin as one")
    body, found = content[:-_DIGEST], content[-_DIGEST:]
    if len(content) < _HEAD.size + _DIGEST or hashlib.sha256(body).digest() != found:
        raise ArtifactError(f"{path} is damaged: its SHA-256 is not the one that it was written with; get it again")
    _, version = _HEAD.unpack_from(body)
    if version != VERSION:
        raise ArtifactError(
            f"{path} has format {version}, and this version of plait reads format {VERSION}: install the version that "
            "wrote it, or save the model again"
        )
    return _members(path, body)


def _members(path: Path, body: bytes) -> dict[str, bytes]:
    start = _HEAD.size + _LENGTHS.size
    if len(body) < start:
        raise ArtifactError(f"{path} is no saved model: it ends within its header")
    lengths = dict(zip(MEMBERS, _LENGTHS.unpack_from(body, _HEAD.size), strict=True))
    if start + sum(lengths.values()) != len(body):
        raise ArtifactError(f"{path} is no saved model: its members have other lengths than the file")
    members = {}
    for name, length in lengths.items():
        if length > LARGEST.get(name, length):
            raise ArtifactError(f"{path}: member {name!r} has {length} bytes, of at most {LARGEST[name]}")
        members[name] = body[start : start + length]
        start += length
    return members


__all__ = ["MEMBERS", "is_saved", "read", "write"]
