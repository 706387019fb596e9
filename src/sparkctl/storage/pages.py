"""The rows of a SQLite file, page by page: what its library can't reach in a damaged file is read without it.

SQLite's own `.recover` is in its shell, not in its library. A table WITHOUT ROWID lies in pages of an index tree, whose
every cell is a whole row (Database File Format, sections 1.6, 2.1, 2.3 and 4.1): so no page needs another one, but for
what is too long for it.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_USUAL = 4096
"""Bytes of a page, as SQLite chooses them."""
_INNER, _LEAF = 2, 10
"""Kinds of a page of an index tree."""

Row = tuple[bytes | int | float | None, ...]


def rows(path: Path) -> Iterator[Row]:
    """The rows of all such tables, texts as bytes, some twice and in no order, those of the log first; damaged ones may be
    among them."""
    data, log = _mapped(path), Path(f"{path}-wal")
    size = _page_size(data)
    newer = _logged(log.read_bytes(), size) if log.exists() else {}

    def page(number: int) -> bytes:
        return newer.get(number) or data[(number - 1) * size : number * size].ljust(size, b"\0")

    for number in [*newer, *(n for n in range(1, -(-len(data) // size) + 1) if n not in newer)]:
        for cell in _cells(page(number), number):
            try:
                yield _row(_payload(page(number), cell, page, len(data) + len(newer) * size))
            except (IndexError, ValueError, struct.error):
                continue


def _mapped(path: Path) -> bytes | mmap.mmap:
    """The file's bytes, which may be more than memory holds."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _page_size(data: bytes | mmap.mmap) -> int:
    told = int.from_bytes(data[16:18])
    told = 65536 if told == 1 else told
    return told if told in (1 << n for n in range(9, 17)) else _USUAL


def _logged(log: bytes, size: int) -> dict[int, bytes]:
    """Page number -> the page as the log has it last."""
    found = {}
    for start in range(32, len(log) - 24 - size + 1, 24 + size):
        if log[start + 8 : start + 16] != log[16:24]:
            break  # left from before
        found[int.from_bytes(log[start : start + 4])] = log[start + 24 : start + 24 + size]
    return found


def _cells(page: bytes, number: int) -> Iterator[int]:
    """Where the cells of a page begin."""
    head = 100 if number == 1 else 0
    kind, count = page[head], int.from_bytes(page[head + 3 : head + 5])
    if kind not in (_INNER, _LEAF):
        return
    first = head + (12 if kind == _INNER else 8)
    for at in range(first, min(first + 2 * count, len(page) - 1), 2):
        yield int.from_bytes(page[at : at + 2]) + (4 if kind == _INNER else 0)


def _payload(page: bytes, at: int, other: Callable[[int], bytes], most: int) -> bytes:
    size, at = _varint(page, at)
    if size > most:
        raise ValueError
    room = len(page)
    longest, least = (room - 12) * 64 // 255 - 23, (room - 12) * 32 // 255 - 23
    here = size
    if size > longest:
        here = least + (size - least) % (room - 4)
        here = here if here <= longest else least
    found = bytearray(page[at : at + here])
    following = int.from_bytes(page[at + here : at + here + 4])
    while len(found) < size:
        if not following:
            raise ValueError
        more = other(following)
        following = int.from_bytes(more[:4])
        found += more[4 : 4 + size - len(found)]
    return bytes(found)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where what follows begins)."""
    value = 0
    for i in range(8):
        value = value << 7 | data[at + i] & 0x7F
        if data[at + i] < 0x80:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9


_WIDTHS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}


def _row(record: bytes) -> Row:
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    row: list[Any] = []
    for kind in kinds:
        width = _WIDTHS[kind] if kind in _WIDTHS else (kind - 12) // 2
        cell = record[at : at + width]
        if width < 0 or len(cell) < width:
            raise ValueError
        row.append(_value(kind, cell))
        at += width
    return tuple(row)


def _value(kind: int, cell: bytes) -> bytes | int | float | None:
    if kind == 0:
        return None
    if kind == 7:
        return float(struct.unpack(">d", cell)[0])
    if kind in (8, 9):
        return kind - 8
    return int.from_bytes(cell, signed=True) if kind < 7 else cell
