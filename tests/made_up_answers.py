"""JSON texts as careless but correct servers write them, and answers made of rows."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_page

SPACES = st.text(" \t\r\n", max_size=3)
NUMBERS = st.sampled_from(["0", "-0.0", "1.10", "1e400", "12345678901234567890123", "1E+5", "-7", "2.50e-3"])
STRINGS = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8).map(
        '"{}"'.format
    ),
    st.sampled_from(['"\\ud800"', '"\\u2028"', '"\\r\\n"', '"\u2028"', '"\\/"', '"\\u0041"', '"}],"', '"NaN"']),
)


@st.composite
def json_texts(draw: st.DrawFn, depth: int = 2) -> str:
    """A JSON text as a careless but correct server might write it: its own spaces, escapes and numbers."""
    kind = draw(st.integers(0, 4 if depth else 2))
    if kind == 0:
        return draw(NUMBERS)
    if kind == 1:
        return draw(STRINGS)
    if kind == 2:
        return draw(st.sampled_from(["true", "false", "null"]))
    children = [draw(json_texts(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == 3:
        return f"[{draw(SPACES)}{f'{draw(SPACES)},{draw(SPACES)}'.join(children)}{draw(SPACES)}]"
    members = [f"{draw(STRINGS)}{draw(SPACES)}:{draw(SPACES)}{child}" for child in children]
    return f"{{{draw(SPACES)}{f'{draw(SPACES)},{draw(SPACES)}'.join(members)}{draw(SPACES)}}}"


def flat(text: str) -> bytes:
    """Line breaks stand only between tokens: in strings they are escaped."""
    return text.encode().replace(b"\r", b"").replace(b"\n", b"")


def page_of(*rows: object, metadata: object = None, data_type: str = "events") -> Any:
    body = {"status": "success", "data": rows, "metadata": {} if metadata is None else metadata}
    return parse_page(json.dumps(body).encode(), DATA_TYPES[data_type])
