"""A large JSON object read piece by piece: the items of its arrays, one at a time."""

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from integrations.files.records import FileProblem

CHUNK = 65_536
ITEM_MAX = 16 * 2**20  # characters of one item


def items(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """(member, item) for every item of every array that is a member of the object; other members are passed over.

    Raises FileProblem when the file is no JSON object, ends too early, or has an item too large to hold.
    """
    text = _Text(stream)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        if text.peek() != '"':
            text.expect('"')
        name = str(text.value())
        text.expect(":")
        if text.peek() == "[":
            for item in _array(text):
                yield name, item
        else:
            text.value()
        if text.expect(",}") == "}":
            return


def _array(text: "_Text") -> Iterator[Any]:
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
        return
    while True:
        yield text.value()
        if text.expect(",]") == "]":
            return


class _Text:
    """The part of the text that is held, and the place in it."""

    def __init__(self, stream: BinaryIO):
        self.stream = io.TextIOWrapper(stream, encoding="utf-8-sig")
        self.decoder = json.JSONDecoder()
        self.held, self.at = "", 0

    def fill(self) -> bool:
        """Read on, at least as much as is held, so that a long item is not tried over and over; False at the end."""
        try:
            more = self.stream.read(max(CHUNK, len(self.held) - self.at))
        except UnicodeDecodeError as error:
            raise FileProblem(f"The file is not UTF-8: {error}") from error
        self.held, self.at = self.held[self.at :] + more, 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self.at < len(self.held):
                if self.held[self.at] not in " \t\r\n":
                    return self.held[self.at]
                self.at += 1
            if not self.fill():
                return ""

    def expect(self, wanted: str) -> str:
        """Pass the next character, which must be one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise FileProblem(f"The JSON is not sound: {' or '.join(wanted)} expected, {found or 'the end'} found.")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                found, end = self.decoder.raw_decode(self.held, self.at)
                left = len(self.held) - end
                # a number that ends where the held text does may go on: 1 and .5
                more = isinstance(found, int | float) and not self.held[end:].strip("0123456789.eE+-")
                if not more or not self.fill():
                    self.at = len(self.held) - left
                    return found
            except RecursionError as error:
                raise FileProblem("The JSON is nested too deep.") from error
            except ValueError as error:
                if len(self.held) - self.at > ITEM_MAX or not self.fill():
                    raise FileProblem(f"The JSON is not sound: {error}") from error
