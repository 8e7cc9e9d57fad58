"""XLSX: the first sheet, or the one named; its first row names the columns. Formulas count as their stored result."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from integrations.files.csv_rows import headers
from integrations.files.records import FileProblem, Row

BYTES_MAX = 512 * 2**20  # of all parts, unpacked
# what openpyxl and zipfile raise on damaged or encrypted files, on opening and while reading rows
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, InvalidFileException, ParseError),
    *(OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError),
)


def rows(path: Path, *, sheet: str = "", limit: int = BYTES_MAX) -> Iterator[Row]:
    """The rows that hold anything, numbered as the spreadsheet numbers them.

    Numbers are int, or Decimal of the 15 digits that a spreadsheet keeps; moments are datetime without a zone, dates
    such at midnight; all else is text. Raises FileProblem when it is no workbook, has no such sheet, or unpacks to
    more than `limit` bytes.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > limit:
                raise FileProblem(f"Unpacked, the workbook has more than {limit} bytes.")
        with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            yield from _rows(book, sheet)
    except DAMAGED as error:
        raise FileProblem(f"This is no sound XLSX workbook: {error}") from error


def _rows(book: Any, sheet: str) -> Iterator[Row]:
    if sheet and sheet not in book.sheetnames:
        raise FileProblem(f"There is no sheet “{sheet}”; there are {', '.join(book.sheetnames)}.")
    page = book[sheet] if sheet else book.worksheets[0]
    page.reset_dimensions()  # the size a file claims is often wrong
    cells = page.iter_rows(values_only=True)
    named = [_text(cell) for cell in next(cells, ())]
    while named and not named[-1]:
        named.pop()
    names = headers(named)
    for line, row in enumerate(cells, 2):
        if all(cell is None for cell in row):
            continue
        values = {name: _value(cell) for name, cell in zip(names, row, strict=False)}
        beyond = any(cell is not None for cell in row[len(names) :])
        yield Row(line, values, "The row has cells beyond the last named column." if beyond else "")


def _text(cell: Any) -> str:
    return str(_value(cell))


def _value(cell: Any) -> Any:
    """A cell's value; text where it is neither number nor time."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return Decimal(format(cell, ".15g"))
    if isinstance(cell, datetime | int):
        return cell
    if isinstance(cell, date):
        return datetime.combine(cell, time())  # its zone comes from the mapping
    return str(cell)
