"""Checks of a table against the contract: columns, types, nulls, values, keys. Each fault is one line."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.errors import SparkError
from sparkctl.method.tables import TABLES, Column, Table


def check(table: pa.Table, name: str, where: str, *, may_be_empty: bool = False) -> pa.Table:
    """The table in the contract's column order and types, or a SparkError naming `where`, the column and the fault."""
    spec = TABLES[name]
    for column in spec.columns:
        if column.optional and column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(len(table), column.type))
    _check_columns(table, spec, where)
    if not len(table) and not may_be_empty:
        raise SparkError(f"{where}: the {name} table is empty; it needs at least one row")
    table = _checked(table, spec.columns, where)
    check_key(table, spec, where)
    return table


def picked(table: pa.Table, columns: Sequence[Column], where: str) -> pa.Table:
    """These columns of a table that is not of the contract, cast and checked like those that are; others are ignored.

    A column that must be there and is not, or a table without rows, is a SparkError.
    """
    for column in columns:
        if (count := table.column_names.count(column.name)) != 1:
            names = ", ".join(c.name for c in columns)
            fault = "occurs twice; keep one" if count else f"is missing; needed are: {names}"
            raise SparkError(f"{where}: column '{column.name}' {fault}")
    if not len(table):
        raise SparkError(f"{where}: the table is empty; it needs at least one row")
    return _checked(table, columns, where)


def _checked(table: pa.Table, columns: Sequence[Column], where: str) -> pa.Table:
    cast = {c.name: _cast(table[c.name], c, where) for c in columns}
    for column in columns:
        _check_values(cast[column.name], column, where)
    return pa.table(cast)


def _check_columns(table: pa.Table, spec: Table, where: str) -> None:
    wanted, found = [c.name for c in spec.columns], table.column_names
    if twice := sorted({n for n in found if found.count(n) > 1}):
        raise SparkError(f"{where}: column '{twice[0]}' occurs twice; keep one")
    if missing := [n for n in wanted if n not in found]:
        raise SparkError(
            f"{where}: column '{missing[0]}' is missing from the {spec.name} table; `sparkctl schema {spec.name}` lists all"
        )
    if extra := [n for n in found if n not in wanted]:
        raise SparkError(f"{where}: column '{extra[0]}' does not belong to the {spec.name} table; drop it")


def _cast(values: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    fault = SparkError(f"{where}: column '{column.name}' is {values.type}, must be {column.type}; cast it")
    if _is_view(values.type) or not _means_the_same(values.type, column.type):
        raise fault  # Arrow "casts" a view to a list of other items
    try:
        return values.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise fault from None


def _means_the_same(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type may be read as those of another. Arrow would read a number as text, "yes" as a number, a
    day as a count."""
    if pa.types.is_dictionary(given):
        return _means_the_same(given.value_type, wanted)
    if pa.types.is_list(wanted) and hasattr(given, "value_type"):
        return _means_the_same(given.value_type, wanted.value_type)
    if pa.types.is_temporal(given):
        return False
    is_number = pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given)
    if pa.types.is_string(wanted) or pa.types.is_boolean(wanted):
        return not is_number and (pa.types.is_boolean(wanted) or not pa.types.is_boolean(given))
    return not pa.types.is_boolean(given)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _check_values(values: pa.ChunkedArray, column: Column, where: str) -> None:
    if values.null_count and not column.null:
        row = pc.index(pc.is_null(values), True).as_py()
        raise SparkError(f"{where}: column '{column.name}' is null in row {row + 1}, where a value is required")
    if pa.types.is_list(column.type) and pc.list_flatten(values).null_count:
        raise SparkError(f"{where}: column '{column.name}' has a null inside a list; drop or fill it")
    if column.within and (row := _outside(values, *column.within)) >= 0:
        low, high = column.within
        raise SparkError(
            f"{where}: {column.name} {values[row]} in row {row + 1} is not a number from {low:g} to {high:g}"
        )
    if column.among:
        # A list is checked item by item.
        is_list = pa.types.is_list(column.type)
        items = pc.list_flatten(values) if is_list else values
        known = pc.or_kleene(pc.is_in(items, pa.array(column.among)), pc.is_null(items))
        if (at := pc.index(known, False).as_py()) >= 0:
            row = pc.list_parent_indices(values.combine_chunks())[at].as_py() if is_list else at
            allowed = ", ".join(column.among)
            raise SparkError(f"{where}: unknown {column.name} '{items[at]}' in row {row + 1}; known are: {allowed}")


def _outside(values: pa.ChunkedArray, low: float, high: float) -> int:
    """The first row whose number is out of bounds or NaN, -1 where there is none."""
    inside = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
    return int(pc.index(pc.fill_null(inside, True), False).as_py())


def check_key(table: pa.Table, spec: Table, where: str) -> None:
    """Refuse rows that share a key."""
    groups = table.group_by(list(spec.key)).aggregate([([], "count_all")])
    if len(groups) < len(table):
        row = groups.filter(pc.greater(groups["count_all"], 1)).slice(0, 1).to_pylist()[0]
        named = ", ".join(f"{k}={row[k]}" for k in spec.key)
        raise SparkError(f"{where}: duplicate key {named} ({row['count_all']} rows); keep one row for each")
