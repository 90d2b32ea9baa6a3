"""Finds the records of a zip file of stored members, and believes nothing the file says twice and differently.

The standard library's ``zipfile`` is made to open what it can. This reader is made to refuse: whatever is doubled,
overlapping, or told differently in two places. It reads the directory and the
records' own headers, nothing of their contents. Source: PKWARE's APPNOTE, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from pphub.checkpoint.tensor import file_size
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Record", "read_records"]

_END: Final = struct.Struct("<4sHHHHLLH")
_END64: Final = struct.Struct("<4sQ4xLLQQQQ")
_LOCATOR: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s4xHH8xLLHHHH2xLL")
_LOCAL: Final = struct.Struct("<4s2xHH8xLLHH")
_IN_ZIP64: Final = 0xFFFFFFFF
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_FOLDER: Final = 0x10  # an attribute of MS-DOS
_MAX_RECORDS: Final = 100_000
_MAX_DIRECTORY_BYTES: Final = 16 << 20
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record's bytes are in the file; those of one that is not ``plain`` are compressed or encrypted."""

    start: int
    length: int
    plain: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    offset: int
    size: int
    count: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a record."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    size: int
    packed: int
    header: int  # byte where the record's own header starts


def read_records(path: Path) -> dict[str, Record]:
    """The records by name, in the directory's order.

    Raises:
        UnsafeCheckpoint: the zip contradicts itself, or is packed in a way that no checkpoint is.
        Corrupt: it is no zip file, or a part of one.
    """
    size = file_size(path)
    records: dict[str, Record] = {}
    folded: set[bytes] = set()
    places: list[tuple[int, int, str]] = []
    with path.open("rb") as stream:
        directory = _find_directory(stream, size, path.name)
        for entry in _entries(stream, directory, path.name):
            # Torch looks records up by the bytes of their names, and ignores the case of ASCII letters.
            key = entry.raw_name.lower()
            if key in folded:
                _unsafe(path.name, f"there are two records called {entry.name[:80]!r}, in whatever case")
            folded.add(key)
            record = _locate(stream, entry, directory, path.name)
            records[entry.name] = record
            places.append((entry.header, record.start + record.length, entry.name))
    _check_places(places, path.name)
    return records


def _unsafe(label: str, what: str) -> NoReturn:
    msg = f"{label} is no zip that torch.save writes: {what}"
    raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save, or use model.safetensors")


def _cut_off(label: str, what: str) -> NoReturn:
    msg = f"{label} is no checkpoint of torch.save, or only a part of one: {what}"
    raise Corrupt(msg, hint=_DAMAGED)


def _read_at(stream: BinaryIO, offset: int, length: int, label: str) -> bytes:
    stream.seek(offset)
    data = stream.read(length)
    if len(data) != length:
        _cut_off(label, f"the file ends before byte {offset + length}")
    return data


def _find_directory(stream: BinaryIO, size: int, label: str) -> _Directory:
    end = size - _END.size
    if end < 0:
        _cut_off(label, "it is too short for a zip file")
    magic, disk, first_disk, here, count, length, offset, comment = _END.unpack(_read_at(stream, end, _END.size, label))
    if magic != b"PK\x05\x06" or comment:
        _cut_off(label, "it does not end with the end of a zip directory")
    if disk or first_disk or here != count:
        _unsafe(label, "it claims to be one of several volumes")
    directory = _Directory(offset, length, count)
    wide = _find_wide_directory(stream, end, label)
    if wide is not None:
        for narrow_value, wide_value, unset in (
            (offset, wide.offset, _IN_ZIP64),
            (length, wide.size, _IN_ZIP64),
            (count, wide.count, 0xFFFF),
        ):
            if narrow_value not in (wide_value, unset):
                _unsafe(label, f"its two directory ends say {narrow_value} and {wide_value}")
        directory, end = wide, end - _LOCATOR.size - _END64.size
    if directory.offset + directory.size != end:
        _unsafe(label, f"its directory of {directory.size} bytes at byte {directory.offset} does not end at {end}")
    if directory.size > _MAX_DIRECTORY_BYTES or directory.count > _MAX_RECORDS:
        _unsafe(label, f"its directory claims {directory.count} records in {directory.size} bytes")
    return directory


def _find_wide_directory(stream: BinaryIO, end: int, label: str) -> _Directory | None:
    """The zip64 end of the directory, where there is one; ``end`` is where the ordinary one starts."""
    place = end - _LOCATOR.size - _END64.size
    if place < 0:
        return None
    data = _read_at(stream, place, _END64.size + _LOCATOR.size, label)
    magic, disk, offset, disks = _LOCATOR.unpack_from(data, _END64.size)
    if magic != b"PK\x06\x07":
        return None
    magic, rest, this_disk, first_disk, here, count, length, start = _END64.unpack_from(data)
    if (magic, rest, offset) != (b"PK\x06\x06", _END64.size - 12, place):
        _unsafe(label, "its zip64 end of the directory is not where it should be")
    if disk or this_disk or first_disk or disks != 1 or here != count:
        _unsafe(label, "it claims to be one of several volumes")
    return _Directory(start, length, count)


def _entries(stream: BinaryIO, directory: _Directory, label: str) -> Iterator[_Entry]:
    data = _read_at(stream, directory.offset, directory.size, label)
    at = 0
    for _ in range(directory.count):
        if len(data) - at < _CENTRAL.size:
            _cut_off(label, "its directory is shorter than it claims")
        fields = _CENTRAL.unpack_from(data, at)
        magic, flags, method, packed, size, name_length, extra_length, comment, disk, attributes, header = fields
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        if magic != b"PK\x01\x02" or extra_at + extra_length + comment > len(data):
            _cut_off(label, f"its directory makes no sense at byte {directory.offset + at}")
        raw_name = data[name_at:extra_at]
        name = _decode_name(raw_name, label)
        if disk:
            _unsafe(label, "it claims to be one of several volumes")
        size, packed, header = _widen((size, packed, header), data[extra_at : extra_at + extra_length], name, label)
        if (attributes & _FOLDER or name.endswith("/")) and (size or packed):  # torch would take it for empty
            _unsafe(label, f"the record {name[:80]!r} of {size} bytes claims to be a folder")
        if not method and not flags & _ENCRYPTED and size != packed:
            _unsafe(label, f"the record {name[:80]!r} has {packed} bytes and claims to hold {size}")
        yield _Entry(raw_name, name, flags, method, size, packed, header)
        at = extra_at + extra_length + comment
    if at != len(data):
        _unsafe(label, f"its directory holds more than the {directory.count} records it claims")


def _decode_name(raw: bytes, label: str) -> str:
    """By UTF-8 whatever a flag says: torch compares the bytes with the UTF-8 of what the pickle asks for."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        _cut_off(label, "the name of a record is no text")
    parts = name.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts) or any(char in name for char in "\\:\0"):
        _unsafe(label, f"there is a record called {name[:80]!r}")
    return name


def _widen(values: tuple[int, int, int], extra: bytes, name: str, label: str) -> tuple[int, ...]:
    """Take the values that do not fit 32 bits from the zip64 field."""
    wanted = values.count(_IN_ZIP64)
    if not wanted:
        return values
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1 and length >= 8 * wanted and at + 4 + length <= len(extra):
            wide = iter(struct.unpack_from(f"<{wanted}Q", extra, at + 4))
            return tuple(next(wide) if value == _IN_ZIP64 else value for value in values)
        at += 4 + length
    _unsafe(label, f"the record {name[:80]!r} promises a zip64 size and has none")


def _locate(stream: BinaryIO, entry: _Entry, directory: _Directory, label: str) -> Record:
    """Read the record's own header; its extra field (torch's padding) differs from the directory's."""
    if entry.header + _LOCAL.size > directory.offset:
        _cut_off(label, f"the record {entry.name[:80]!r} starts at byte {entry.header}, behind the last one")
    magic, flags, method, packed, size, name_length, extra_length = _LOCAL.unpack(
        _read_at(stream, entry.header, _LOCAL.size, label)
    )
    if magic != b"PK\x03\x04":
        _cut_off(label, f"there is no record at byte {entry.header}")
    unset = {_IN_ZIP64, 0} if flags & _SIZES_FOLLOW else {_IN_ZIP64}
    sizes_agree = packed in {entry.packed, *unset} and size in {entry.size, *unset}
    if (
        not sizes_agree
        or method != entry.method
        or (flags ^ entry.flags) & _ENCRYPTED
        or stream.read(name_length) != entry.raw_name
    ):
        _unsafe(label, f"the record at byte {entry.header} is not the {entry.name[:80]!r} of the directory")
    plain = not method and not flags & _ENCRYPTED
    record = Record(entry.header + _LOCAL.size + name_length + extra_length, entry.packed, plain)
    if record.start + record.length > directory.offset:
        _cut_off(label, f"the record {entry.name[:80]!r} reaches past the end of the records")
    return record


def _check_places(places: list[tuple[int, int, str]], label: str) -> None:
    """Overlapping records are how a small file claims to be a huge one; a prefix makes it two files in one."""
    end = 0
    for start, record_end, name in sorted(places):
        if start < end:
            _unsafe(label, f"the record {name[:80]!r} overlaps another")
        if not end and start:
            _unsafe(label, f"there are {start} bytes before the first record")
        end = record_end
