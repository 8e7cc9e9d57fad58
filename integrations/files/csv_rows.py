"""CSV: one header line, then rows. The delimiter is the one that occurs most often in the header."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import BinaryIO

from integrations.files.records import FileProblem, Row

DELIMITERS = ",;\t|"
LINE_MAX = 1024 * 1024
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def rows(stream: BinaryIO, *, delimiter: str = "", encoding: str = "") -> Iterator[Row]:
    """The rows, each with the line it begins in. UTF-8 (with or without BOM) unless told otherwise or marked UTF-16.

    A row with too many or too few fields, or bytes that are not of the encoding, is a Row with a problem. Raises
    FileProblem when there is no header or the quoting never ends.
    """
    marked = stream.peek(2)[:2] in UTF16 if isinstance(stream, io.BufferedReader) else False
    # what is no text of the encoding becomes surrogates, which are found below, row by row
    text = io.TextIOWrapper(
        stream, encoding=encoding or ("utf-16" if marked else "utf-8-sig"), errors="surrogateescape", newline=""
    )
    try:
        lines = _lines(text)
        first = next(lines, "")
        sign = delimiter or max(DELIMITERS, key=_unquoted(first).count)
        yield from _rows(csv.reader(chain([first], lines), delimiter=sign, strict=True))
    except UnicodeError as error:
        raise FileProblem(f"The CSV cannot be read on: {error}.") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines; a file without any must not fill the memory."""
    while line := text.readline(LINE_MAX):
        if len(line) == LINE_MAX:
            raise FileProblem(f"A line has {LINE_MAX} characters or more: this is no CSV.")
        yield line


def _unquoted(line: str) -> str:
    """The parts of a line outside quotes: a delimiter inside a header's name says nothing."""
    return "".join(line.split('"')[::2])


def headers(names: Sequence[str]) -> list[str]:
    """Column names; those without one are named by position. Raises FileProblem when there is none, or one twice."""
    found = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    if not any(name.strip() for name in names):
        raise FileProblem("The first line must name the columns.", line=1)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise FileProblem(f"These columns are named twice: {', '.join(twice)}.", line=1)
    return found


def _rows(reader: "csv._reader") -> Iterator[Row]:  # type: ignore[name-defined]
    names = headers(_next(reader) or [])
    while True:
        line = reader.line_num + 1
        if (fields := _next(reader)) is None:
            return
        if not any(fields):
            continue  # an empty line, or a row of delimiters as spreadsheets leave them at the end
        values = dict(zip(names, fields, strict=False))
        problem = ""
        if len(fields) != len(names):
            problem = f"The row has {len(fields)} fields, the header {len(names)}."
        elif any("\udc80" <= sign <= "\udcff" for value in fields for sign in value):
            problem = "The row is not in the file's encoding; name the right one in the mapping."
        yield Row(line, values, problem)


def _next(reader: "csv._reader") -> list[str] | None:  # type: ignore[name-defined]
    """The next row, None at the end. A fault is told with the line the row begins in."""
    line = reader.line_num + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        raise FileProblem(f"The row that begins here cannot be read: {error}.", line=line) from error
