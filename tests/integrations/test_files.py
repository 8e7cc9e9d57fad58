"""Readers of foreign files: what is in them comes out, whatever pieces they are read in, and within limits."""

import gzip
import io
import json
import random
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.files import csv_rows, json_stream, jsonl_rows, ocel, source, xes, xlsx_rows
from integrations.files.records import Exists, FileProblem, Happened, Ref, Related
from tests.event_logs import LOGS, needs_logs

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.text(), st.lists(VALUES, max_size=5) | VALUES, max_size=5), st.integers(1, 40), st.booleans())
def test_json_in_pieces_is_the_same_json(told, size, indented):
    text = json.dumps(told, indent=2 if indented else None, ensure_ascii=indented)
    patch = pytest.MonkeyPatch()
    patch.setattr(json_stream, "CHUNK", size)
    try:
        found = list(json_stream.items(io.BytesIO(text.encode())))
    finally:
        patch.undo()

    assert found == [(name, item) for name, items in told.items() if isinstance(items, list) for item in items]


@pytest.mark.parametrize("text", ["", "[1]", '{"a": [1, 2', '{"a": [1 2]}', '{"a" 1}', '{"a": [01]}', "{1: 2}", "\xff"])
def test_json_that_is_none_is_told(text):
    with pytest.raises(FileProblem):
        list(json_stream.items(io.BytesIO(text.encode("latin-1"))))


def test_an_item_too_large_to_hold_is_not_held(monkeypatch):
    monkeypatch.setattr(json_stream, "ITEM_MAX", 100)
    monkeypatch.setattr(json_stream, "CHUNK", 50)
    with pytest.raises(FileProblem):
        list(json_stream.items(io.BytesIO(json.dumps({"a": ["x" * 1000]}).encode())))


def test_gzip_is_unpacked_to_a_limit_only(tmp_path):
    path = tmp_path / "zeros.csv.gz"
    path.write_bytes(gzip.compress(b"0" * 100_000))

    with pytest.raises(FileProblem, match="more than 1000 bytes"), source.opened(path, 1000) as stream:
        stream.read()
    with pytest.raises(FileProblem, match="more than 1000 bytes"), source.unpacked(path, 1000):
        pass
    with source.unpacked(path) as plain:
        assert plain.read_bytes() == b"0" * 100_000
    assert not plain.exists()


def test_a_workbook_that_would_unpack_too_large_is_not_opened(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["id"])
    book.save(tmp_path / "book.xlsx")

    with pytest.raises(FileProblem, match="more than 10 bytes"):
        list(xlsx_rows.rows(tmp_path / "book.xlsx", limit=10))
    with pytest.raises(FileProblem, match="no sheet"):
        list(xlsx_rows.rows(tmp_path / "book.xlsx", sheet="Budget"))
    (tmp_path / "no.xlsx").write_bytes(b"PK\x03\x04 but no zip")
    with pytest.raises(FileProblem):
        list(xlsx_rows.rows(tmp_path / "no.xlsx"))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_workbook_is_told_not_a_defect(tmp_path, seed):
    book, chance = openpyxl.Workbook(), random.Random(seed)
    for row in range(20):
        book.active.append([f"id {row}", row, row / 7])
    book.save(tmp_path / "book.xlsx")
    content = bytearray((tmp_path / "book.xlsx").read_bytes())
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    (tmp_path / "book.xlsx").write_bytes(content)

    with suppress(FileProblem):
        assert len(list(xlsx_rows.rows(tmp_path / "book.xlsx"))) <= 20


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"id,kind\n", "csv"),
        ("a.csv", b"\xff\xfei\x00d\x00", "csv"),
        ("a", b'\xef\xbb\xbf<?xml version="1.0"?><log/>', "xes"),
        ("a", b"SQLite format 3\x00", "ocel-sqlite"),
        ("a", b"PK\x03\x04", "xlsx"),
        ("a.json", b'{"id": 1}\n{"id": 2}\n', "jsonl"),
        ("a.ndjson", b'{"id": 1', "jsonl"),
        ("a.jsonocel", b"{}", "ocel-json"),
        ("a.json", b"{\xff}", "ocel-json"),
        ("a.json", b'{\n "objects": [],', "ocel-json"),
        ("a.json", b'{"objectTypes": [], "eventTypes": [], "events": [], "objects": []}', "ocel-json"),
    ],
)
def test_the_format_is_told_by_content_then_name(tmp_path, name, content, expected):
    path, packed = tmp_path / name, tmp_path / f"{name}.gz"
    path.write_bytes(content)
    packed.write_bytes(gzip.compress(content))

    assert source.guess(path) == source.guess(packed) == expected


def rows(text: str, **more: str) -> list[tuple[int, dict, bool]]:
    return [(row.line, row.values, bool(row.problem)) for row in csv_rows.rows(io.BytesIO(text.encode()), **more)]


def test_csv_lines_are_those_a_person_sees():
    text = 'id;"a,b,c,d";note\r\n1;x;"two\nlines"\r\n\r\n;;\n2;y;z\n3;short\n'

    assert rows(text) == [
        (2, {"id": "1", "a,b,c,d": "x", "note": "two\nlines"}, False),
        (6, {"id": "2", "a,b,c,d": "y", "note": "z"}, False),
        (7, {"id": "3", "a,b,c,d": "short"}, True),
    ]


@pytest.mark.parametrize("text", ["", "\n1\n", "id,id\n1,2\n", "x" * (csv_rows.LINE_MAX + 1)])
def test_csv_without_a_usable_header_is_told(text):
    with pytest.raises(FileProblem):
        rows(text)


def test_a_json_line_too_long_is_passed_over(monkeypatch):
    monkeypatch.setattr(jsonl_rows, "LINE_MAX", 20)
    text = b'{"id": 1}\n{"id": "' + b"x" * 100 + b'"}\n\n{"id": 3}'

    found = [(row.line, row.values, bool(row.problem)) for row in jsonl_rows.rows(io.BytesIO(text))]

    assert found == [(1, {"id": 1}, False), (2, {}, True), (4, {"id": 3}, False)]


def database(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"""
            CREATE TABLE event (ocel_id, ocel_type);
            CREATE TABLE object (ocel_id, ocel_type);
            CREATE TABLE event_object (ocel_event_id, ocel_object_id, ocel_qualifier);
            CREATE TABLE object_object (ocel_source_id, ocel_target_id, ocel_qualifier);
            CREATE TABLE event_map_type (ocel_type, ocel_type_map);
            CREATE TABLE object_map_type (ocel_type, ocel_type_map);
            {script}
        """)
    return path


def test_a_database_whose_tables_do_not_fit_loses_nothing(tmp_path):
    """An event without its row of times, a type without a table, an object nobody declared, a type left out."""
    path = database(
        tmp_path / "log.sqlite",
        """
        CREATE TABLE "event_Pay" (ocel_id, ocel_time, amount REAL);
        CREATE TABLE "object_Order" (ocel_id INTEGER, ocel_time, ocel_changed_field, price REAL);
        INSERT INTO event VALUES ('e1', 'pay'), ('e2', 'pay'), ('e3', 'ship'), ('e4', NULL);
        INSERT INTO event_Pay VALUES ('e1', '2026-01-05', 9.5);
        INSERT INTO event_object VALUES ('e1', 'zz', 'by'), ('e1', '7', 'of'), ('e1', '7', 'of');
        INSERT INTO object VALUES ('7', 'order');
        INSERT INTO object_Order VALUES (7, '1970-01-01', NULL, 1.0), (7, '2026-01-01', 'price', 2.0);
        INSERT INTO object_object VALUES ('7', 'nobody', 'knows');
        INSERT INTO event_map_type VALUES ('pay', 'Pay'), ('ship', 'Ship');
        INSERT INTO object_map_type VALUES ('order', 'Order');
        """,
    )

    found = list(ocel.read_sqlite(path))

    assert {(one.id, one.activity, one.time) for one in found if isinstance(one, Happened)} == {
        ("e1", "pay", "2026-01-05"),
        ("e2", "pay", None),
        ("e3", "ship", None),
        ("e4", "", None),
    }
    paid = next(one for one in found if isinstance(one, Happened) and one.id == "e1")
    assert paid.objects == (Ref("unknown", "zz", "by"), Ref("order", "7", "of"))
    assert paid.attributes == {"amount": 9.5}
    assert [one for one in found if isinstance(one, Exists)] == [
        Exists(
            Ref("order", "7"),
            [
                {"name": "price", "value": 1.0, "time": "1970-01-01"},
                {"name": "price", "value": 2.0, "time": "2026-01-01"},
            ],
        )
    ]
    assert [one for one in found if isinstance(one, Related)] == [
        Related(Ref("order", "7"), Ref("unknown", "nobody", "knows"))
    ]


def test_a_file_that_only_says_it_is_sqlite(tmp_path):
    (tmp_path / "x.sqlite").write_bytes(b"SQLite format 3\x00" + b"\x07" * 500)

    with pytest.raises(FileProblem):
        list(ocel.read_sqlite(tmp_path / "x.sqlite"))


def cases(text: str) -> list[Happened]:
    return [one for one in xes.read(io.BytesIO(text.encode())) if isinstance(one, Happened)]


def test_two_cases_of_one_name_stay_two():
    trace = '<trace><string key="concept:name" value="1"/><event><string key="concept:name" value="A"/></event></trace>'

    found = cases(f"<log>{trace}{trace}<event><string key='concept:name' value='alone'/></event></log>")

    assert [one.objects for one in found] == [(Ref("case", "1"),), (Ref("case", "1#2"),), ()]
    assert len({one.id for one in found}) == 3


@pytest.mark.parametrize("text", ["<html/>", "<log><trace></log>", "", "<!DOCTYPE log><log/>"])
def test_what_is_no_xes_is_told(text):
    with pytest.raises(FileProblem):
        cases(text)


@needs_logs
def test_the_published_order_log_is_read_whole():
    """18,211 events and 10,031 objects: counts per type as in the source."""
    path = LOGS / "ocpa_running-example.sqlite"

    found = list(ocel.read_sqlite(path))

    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        events = Counter(type_ for (type_,) in db.execute("SELECT ocel_type FROM event"))
        objects = Counter(type_ for (type_,) in db.execute("SELECT ocel_type FROM object"))
    assert events.total() == 18_211
    assert Counter(one.activity for one in found if isinstance(one, Happened)) == events
    assert Counter(one.ref.type for one in found if isinstance(one, Exists)) == objects
    assert sum(len(one.objects) for one in found if isinstance(one, Happened)) == 35_857
    assert sum(isinstance(one, Related) for one in found) == 25_336
