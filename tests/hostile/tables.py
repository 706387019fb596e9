"""Ways to damage a Parquet file: its bytes, its footer, its schema, its cells.

A change says whether the file still is a valid one that says something else: then it may be done, and only must not end in
a traceback. All others must be refused, or do no harm.
"""

import io
import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hostile.damage import ODD_TEXTS, damaged


class Change(NamedTuple):
    """A damaged file. `other`: it may be read as another valid one."""

    what: str
    data: bytes
    other: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table, and what its reader makes of its columns."""

    table: pa.Table
    required: frozenset[str]
    """Columns without which it cannot be read."""
    filled: frozenset[str]
    """Columns that are never null."""
    among: frozenset[str] = frozenset()
    """Columns with a list of allowed values."""
    within: frozenset[str] = frozenset()
    """Columns of numbers with bounds."""
    key: tuple[str, ...] = ()
    inert: frozenset[str] = frozenset()
    """Columns of text on which no result depends."""
    links: frozenset[str] = frozenset()
    """Columns whose values must be found in another table, or in other rows."""


def packed(table: pa.Table, **options: Any) -> bytes:
    """The bytes of its Parquet file."""
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def meaning(data: bytes) -> Any:
    """What an independent reader makes of the bytes; None where it is no file for it."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        table.validate(full=True)
        return repr((table.schema.remove_metadata().to_string(), table.to_pylist()))
    except Exception:
        return None


def changed(rng: random.Random, sheet: Sheet) -> Change:
    """The table, damaged."""
    if rng.random() < 0.35:
        return _bytes(rng, packed(sheet.table))
    made = rng.choice(_CHANGES)(rng, sheet)
    return made if made is not None else changed(rng, sheet)


def _bytes(rng: random.Random, whole: bytes) -> Change:
    if rng.random() < 0.5:
        what, data = damaged(rng, whole)
    else:
        footer = int.from_bytes(whole[-8:-4], "little") + 8
        what, data = _footer(rng, whole[:-footer], whole[-footer:-8])
    read = meaning(data)
    return Change(what, data, other=read is not None and read != meaning(whole))


def _footer(rng: random.Random, body: bytes, footer: bytes) -> tuple[str, bytes]:
    kind = rng.choice(("bits", "bits", "size", "magic", "foreign", "gone"))
    if kind == "size":
        size = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, len(footer) + 1, len(footer) - 1))
        return "footer's size", body + footer + size.to_bytes(4, "little") + b"PAR1"
    if kind == "magic":
        return "footer's magic", body + footer + len(footer).to_bytes(4, "little") + rng.choice((b"PARE", b"PAR2"))
    if kind == "gone":
        return "no footer", body
    if kind == "foreign":
        other = packed(pa.table({"x": [1, 2, 3]}))
        size = int.from_bytes(other[-8:-4], "little") + 8
        return "another file's footer", body + other[-size:]
    spoilt = bytearray(footer)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return "footer's bits", body + bytes(spoilt) + len(spoilt).to_bytes(4, "little") + b"PAR1"


# ---- schema ----------------------------------------------------------------------------------------------------------


def _pick(rng: random.Random, names: Collection[str], sheet: Sheet) -> str | None:
    there = sorted(set(names) & set(sheet.table.column_names))
    return rng.choice(there) if there else None


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), pa.field(name, values.type), values)


def _drop(rng: random.Random, sheet: Sheet) -> Change | None:
    name = _pick(rng, sheet.required, sheet)
    return name and Change(f"no column {name}", packed(sheet.table.drop_columns([name])))


def _rename(rng: random.Random, sheet: Sheet) -> Change | None:
    name = _pick(rng, sheet.required, sheet)
    if name is None:
        return None
    to = rng.choice(
        (f"{name}s", name.upper(), f" {name}", "", name[::-1] + "_", "\u202e" + name, name + "\x00", "x" * 9999)
    )
    names = [to if n == name else n for n in sheet.table.column_names]
    return Change(f"column {name} is called {to[:20]!r}", packed(sheet.table.rename_columns(names)))


def _twice(rng: random.Random, sheet: Sheet) -> Change | None:
    name = rng.choice(sheet.table.column_names)
    if name not in sheet.required:
        return None
    return Change(f"column {name} twice", packed(sheet.table.append_column(name, sheet.table[name])))


def _extra(rng: random.Random, sheet: Sheet) -> Change:
    name = rng.choice(("__index_level_0__", "extra", "Question", "\x1b[2J"))
    return Change(f"column {name!r} more", packed(sheet.table.append_column(name, pa.array(range(len(sheet.table))))))


_VALUES: tuple[Any, ...] = (
    *(True, 7, -1, 2**63 - 1, 1.5, math.nan, math.inf, "x", b"\xff", Decimal("1.25")),
    *([], [1], ["a"], [["a"]], [None], {"a": 1}, {"a": [{"b": None}]}, None),
)
_TYPES: tuple[pa.DataType, ...] = (
    *(pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.int64()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4)),
    *(
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.int64()),
        pa.decimal128(38, 4),
        pa.decimal256(60, 9),
    ),
    *(pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.date32(), pa.time64("us"), pa.duration("s")),
    *(pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.list_(pa.string())), pa.list_(pa.int64())),
    *(pa.list_view(pa.string()), pa.large_list_view(pa.int64()), pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    *(pa.list_(pa.float64()), pa.struct({"a": pa.string()}), pa.map_(pa.string(), pa.int64()), pa.json_(), pa.uuid()),
)


def _retype(rng: random.Random, sheet: Sheet) -> Change | None:
    """The same values in another type, where they fit in: no harm. Else nonsense."""
    name, kind = rng.choice(sheet.table.column_names), rng.choice(_TYPES)
    if name not in sheet.required:
        return None
    column = sheet.table[name]
    try:
        return Change(f"{name} as {kind}", packed(_set(sheet.table, name, column.cast(kind))))
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError):
        return _nonsense(rng, sheet, name)


def _nonsense(rng: random.Random, sheet: Sheet, name: str | None = None) -> Change | None:
    name = name or rng.choice(sheet.table.column_names)
    value = rng.choice(_VALUES)
    if name not in sheet.required:
        return None
    try:
        values = pa.array([value] * len(sheet.table))
        return Change(f"{name} holds {value!r}", packed(_set(sheet.table, name, values)), _may_hold(sheet, name, value))
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError):
        return None


def _may_hold(sheet: Sheet, name: str, value: Any) -> bool:
    """Whether the column could hold the value: then the table says something else, or is refused for another reason."""
    if value is None:
        return name not in sheet.filled
    if name in sheet.among | sheet.within:
        return False
    kind = sheet.table.schema.field(name).type
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if pa.types.is_list(kind):
        return isinstance(value, list) and (
            not value or isinstance(value[0], str) == pa.types.is_string(kind.value_type)
        )
    if pa.types.is_string(kind):
        return isinstance(value, str)
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _wrapped(rng: random.Random, sheet: Sheet) -> Change | None:
    name = _pick(rng, sheet.required, sheet)
    if name is None:
        return None
    values = sheet.table[name].combine_chunks()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    deep = rng.choice((1, 1, 40))
    for _ in range(deep):
        values = pa.StructArray.from_arrays([values], ["item"])
    return Change(f"{name} in {deep} structs", packed(_set(sheet.table, name, values)))


# ---- cells -----------------------------------------------------------------------------------------------------------


def _cell(sheet: Sheet, name: str, row: int, value: Any, kind: pa.DataType | None = None) -> bytes:
    values = sheet.table[name].to_pylist()
    values[row] = value
    return packed(_set(sheet.table, name, pa.array(values, kind or sheet.table.schema.field(name).type)))


def _null(rng: random.Random, sheet: Sheet) -> Change | None:
    name = rng.choice(sheet.table.column_names)
    if name not in sheet.required:
        return None
    row = rng.randrange(len(sheet.table))
    return Change(f"{name} null in row {row}", _cell(sheet, name, row, None), other=name not in sheet.filled)


def _null_item(rng: random.Random, sheet: Sheet) -> Change | None:
    lists = [f.name for f in sheet.table.schema if pa.types.is_list(f.type)]
    name, row = _pick(rng, lists, sheet), rng.randrange(len(sheet.table))
    if name is None or not (items := sheet.table[name][row].as_py()):
        return None
    return Change(f"a null in a list of {name}", _cell(sheet, name, row, [None, *items[1:]]))


def _outside(rng: random.Random, sheet: Sheet) -> Change | None:
    name, row = _pick(rng, sheet.within, sheet), rng.randrange(len(sheet.table))
    value = rng.choice((math.nan, math.inf, -math.inf, -0.001, 10.001, 1e308))
    return name and Change(f"{name} {value} in row {row}", _cell(sheet, name, row, value))


def _number(rng: random.Random, sheet: Sheet) -> Change | None:
    """Extreme numbers in columns without bounds."""
    numbers = [f.name for f in sheet.table.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    name, row = _pick(rng, set(numbers) - sheet.within, sheet), rng.randrange(len(sheet.table))
    if name is None:
        return None
    whole = pa.types.is_integer(sheet.table.schema.field(name).type)
    value = rng.choice((-(2**63), 2**63 - 1, -1, 0, 99) if whole else (math.nan, math.inf, -1e308, 5e-324, -0.0))
    return Change(f"{name} {value} in row {row}", _cell(sheet, name, row, value), other=name not in sheet.links)


def _too_large(rng: random.Random, sheet: Sheet) -> Change | None:
    numbers = [f.name for f in sheet.table.schema if pa.types.is_integer(f.type)]
    name = _pick(rng, sheet.required & set(numbers), sheet)
    if name is None:
        return None
    kind, value = rng.choice(((pa.uint64(), 2**64 - 1), (pa.decimal128(38, 0), Decimal(10**30)), (pa.float64(), 0.5)))
    row = rng.randrange(len(sheet.table))
    values = [
        value if i == row else kind and (Decimal(v) if pa.types.is_decimal(kind) else v)
        for i, v in enumerate(sheet.table[name].to_pylist())
    ]
    return Change(f"{name} {value} in row {row}", packed(_set(sheet.table, name, pa.array(values, kind))))


def _unknown(rng: random.Random, sheet: Sheet) -> Change | None:
    name, row = _pick(rng, sheet.among, sheet), rng.randrange(len(sheet.table))
    if name is None:
        return None
    value: Any = rng.choice(("", "Calculator", "cot ", "nothing\x1b[2J", "\u202e", "x" * 5000))
    is_list = pa.types.is_list(sheet.table.schema.field(name).type)
    return Change(f"{name} {value[:20]!r}", _cell(sheet, name, row, [value] if is_list else value))


def _repeated(rng: random.Random, sheet: Sheet) -> Change | None:
    if not sheet.key:
        return None
    row = rng.randrange(len(sheet.table))
    return Change(f"row {row} twice", packed(pa.concat_tables([sheet.table, sheet.table.slice(row, 1)])))


def _no_rows(rng: random.Random, sheet: Sheet) -> Change:
    return Change("no rows", packed(sheet.table.slice(0, 0)))


def _no_utf8(rng: random.Random, sheet: Sheet) -> Change | None:
    texts = [f.name for f in sheet.table.schema if pa.types.is_string(f.type)]
    name = _pick(rng, sheet.required & set(texts), sheet)
    if name is None:
        return None
    raw = [None if v is None else v.encode() for v in sheet.table[name].to_pylist()]
    raw[rng.randrange(len(raw))] = rng.choice((b"\xff\xfe", b"\xed\xa0\x80", b"caf\xe9"))
    binary = pa.array(raw, pa.binary())
    return Change(
        f"{name} is not UTF-8",
        packed(_set(sheet.table, name, pa.Array.from_buffers(pa.string(), len(binary), binary.buffers()))),
    )


def _odd_text(rng: random.Random, sheet: Sheet) -> Change | None:
    texts = [f.name for f in sheet.table.schema if pa.types.is_string(f.type)]
    name = _pick(rng, set(texts) - sheet.among, sheet)
    if name is None:
        return None
    row, text = rng.randrange(len(sheet.table)), rng.choice(ODD_TEXTS)
    text = text if name in sheet.inert else text + (sheet.table[name][row].as_py() or "")
    strict = name in sheet.inert or (name in sheet.links and text != sheet.table[name][row].as_py())
    return Change(f"{name} says {text[:20]!r}", _cell(sheet, name, row, text), other=not strict)


# ---- no harm ---------------------------------------------------------------------------------------------------------


def _written_otherwise(rng: random.Random, sheet: Sheet) -> Change:
    options = rng.choice(
        (
            {"compression": "none"},
            {"compression": "brotli"},
            {"compression": "gzip", "data_page_version": "2.0"},
            {"use_dictionary": False, "use_byte_stream_split": False},
            {"row_group_size": 1},
            {"write_statistics": False, "version": "1.0"},
            {"write_page_checksum": True},
            {"store_schema": False},
            {"use_dictionary": False, "column_encoding": "PLAIN"},
        )
    )
    return Change(f"written with {options}", packed(sheet.table, **options))


def _other_order(rng: random.Random, sheet: Sheet) -> Change:
    names = list(sheet.table.column_names)
    rng.shuffle(names)
    return Change("columns in another order", packed(sheet.table.select(names)))


def _metadata(rng: random.Random, sheet: Sheet) -> Change:
    value = rng.choice(
        (
            b"",
            b"{",
            b"[]",
            b'{"settings": 3}',
            b'{"inputs": [1], "settings": {"tools": 5}}',
            b"[" * 5000,
            b"\xff\xfe",
            b'{"inputs": {"eval_questions": {"a": NaN}}}',
        )
    )
    key = rng.choice((b"sparkctl", b"pandas", b"ARROW:extension:name"))
    return Change(
        f"{key!r} in the footer says {value[:20]!r}", packed(sheet.table.replace_schema_metadata({key: value}))
    )


_CHANGES: tuple[Callable[[random.Random, Sheet], Change | None], ...] = (
    *(
        _drop,
        _rename,
        _twice,
        _extra,
        _retype,
        _retype,
        _retype,
        _nonsense,
        _wrapped,
        _null,
        _null_item,
        _outside,
        _number,
    ),
    *(_too_large, _unknown, _repeated, _no_rows, _no_utf8, _odd_text, _written_otherwise, _other_order, _metadata),
)
