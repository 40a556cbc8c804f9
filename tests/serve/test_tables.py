"""Rows as CSV, read back by the readers in use."""

from __future__ import annotations

import csv
import io

import pandas as pd

from hsmirror.serve.tables import csv_table

ROWS = [
    b'{"id":"1","text":"said \\"no\\", then\\nleft","n":1.10,"big":123456789012345678901234567890}',
    b'{"id":"2","more":{"a":[1, 2.50]},"flag":true,"n":null}',
    '{"id":"3","text":"\u2028 \U0001f600 \\u00fc \\ud83d\\ude00 \\ud800 \\\\ud800","empty":""}'.encode(),
]


def records() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_table(ROWS).decode(), newline="")))


def test_columns_are_every_field_in_first_seen_order():
    assert csv_table(ROWS).split(b"\r\n")[0] == b"id,text,n,big,more,flag,empty"


def test_numbers_keep_their_digits():
    assert (records()[0]["n"], records()[0]["big"]) == ("1.10", "123456789012345678901234567890")


def test_nested_values_stand_as_json():
    assert (records()[1]["more"], records()[1]["flag"]) == ('{"a":[1, 2.50]}', "true")


def test_null_and_missing_are_empty_cells():
    assert (records()[1]["n"], records()[1]["text"]) == ("", "")


def test_texts_survive_quotes_line_breaks_and_escapes():
    assert records()[0]["text"] == 'said "no", then\nleft'
    assert records()[2]["text"] == "\u2028 \U0001f600 ü \U0001f600 \ufffd \\ud800"


def test_pandas_reads_every_row():
    frame = pd.read_csv(io.BytesIO(csv_table(ROWS)))
    assert frame.shape == (3, 7)
    assert frame["n"].tolist()[0] == 1.1


def test_no_rows_give_an_empty_body():
    assert csv_table([]) == b""
