"""What a file is, by how it begins: recordings pass whatever they are called, and what is none does not."""

from __future__ import annotations

import codecs
import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsmirror.api.containers import HEAD_BYTES, is_container, is_playlist, no_recording
from hsmirror.lab.media import make_recording

REST = Random("rest").randbytes(1000)
RECORDINGS = {
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0" + REST,
    "mov": b"\0\0\0\x14ftypqt  " + REST,
    "mov without ftyp": b"\0\0\0\x08wide\0\0\0\x10mdat" + REST,
    "fragment of an mp4": b"\0\0\0\x18styp" + REST,
    "webm": b"\x1a\x45\xdf\xa3\x9fB\x86\x81" + REST,
    "ogg": b"OggS\0\x02" + REST,
    "wav": b"RIFF\x10\0\0\0WAVEfmt " + REST,
    "long wav": b"RF64\xff\xff\xff\xffWAVEds64" + REST,
    "avi": b"RIFF\x10\0\0\0AVI LIST" + REST,
    "aiff": b"FORM\0\0\0\x10AIFFCOMM" + REST,
    "mp3 with ID3": b"ID3\x04\0\0\0\0\0\0" + REST,
    "mp3 without": b"\xff\xfb\x90\x64" + REST,
    "aac": b"\xff\xf1\x50\x80" + REST,
    "flac": b"fLaC\0\0\0\x22" + REST,
    "mpeg-ts": (b"\x47\x40\0\x10" + bytes(184)) * 5,
    "m2ts": (bytes(4) + b"\x47\x40\0\x10" + bytes(184)) * 5,
    "mpeg-ps": b"\0\0\x01\xba" + REST,
    "caf": b"caff\0\x01" + REST,
    "amr": b"#!AMR\n" + REST,
    "asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + REST,
    "the lab's video": make_recording("video", seed="v"),
    "the lab's audio": make_recording("audio", seed="a"),
}
NONE = {
    "JSON": [
        b'{"error": "no"}',
        b"[]",
        b"[1, 2]",
        b"null",
        b'"gone"',
        b"\xef\xbb\xbf{}",
        b' {"a":' + b"[1]," * 20_000,
    ],
    "a page": [
        b"<!doctype html><p>Sign in</p>",
        b"\r\n <HTML>",
        b"<html><p>\xe9t\xe9</p>",  # Latin-1
        b"<?xml version='1.0'?><Error/>",
        b"<Error><Code>AccessDenied</Code></Error>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        codecs.BOM_UTF16_LE + "<html><p>no</p>".encode("utf-16-le"),
    ],
    "text": [
        b"Service Unavailable",
        b"forbidden\n",
        "Zugriff verweigert: später noch einmal versuchen".encode(),
        codecs.BOM_UTF16_BE + "not here".encode("utf-16-be"),
        b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n",
        b"time,value\n" + b"1,2\n" * 50_000,
    ],
    "a picture": [
        b"\x89PNG\r\n\x1a\n" + REST,
        b"\xff\xd8\xff\xe0" + REST,
        b"GIF89a" + REST,
        b"\0\0\0\x18ftypheic" + REST,
    ],
    "a PDF document": [b"%PDF-1.7\n" + REST],
    "an archive": [b"PK\x03\x04" + REST, b"Rar!\x1a\x07\x01" + REST],
    "compressed": [b"\x28\xb5\x2f\xfd" + REST],
    "a program": [b"\x7fELF\x02" + REST],
    "a database": [b"SQLite format 3\0" + REST],
}
TYPES = ["video/mp4", "application/octet-stream", "", "text/html", "application/json", "image/png"]


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_container_is_a_recording_whatever_its_host_calls_it(name: str, media_type: str) -> None:
    assert no_recording(RECORDINGS[name], media_type) == ""
    assert is_container(RECORDINGS[name])


@pytest.mark.parametrize("media_type", ["video/mp4", "audio/webm", "application/octet-stream", ""])
@pytest.mark.parametrize(
    ("kind", "content"),
    [(kind, content) for kind, contents in NONE.items() for content in contents],
    ids=lambda value: value if isinstance(value, str) else value[:8].hex(),
)
def test_fault_119_what_is_no_recording_is_none_whatever_its_host_calls_it(
    kind: str, content: bytes, media_type: str
) -> None:
    assert no_recording(content, media_type) == kind
    assert not is_container(content)


@pytest.mark.parametrize("media_type", ["video/mp4", "application/octet-stream", ""])
@pytest.mark.parametrize(
    "content",
    [b"x" * 50_000, b"film", bytes(3), bytes(10_000), bytes(range(256)), REST],
    ids=lambda each: each[:4].hex(),
)
def test_what_nothing_is_known_of_may_be_a_recording(content: bytes, media_type: str) -> None:
    assert no_recording(content, media_type) == ""


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(b"gone", "text/plain"), (b"gone", "application/json"), (b"gone\xe9", "text/html"), (REST, "image/png")],
)
def test_of_what_nothing_is_known_of_its_hosts_word_counts(content: bytes, media_type: str) -> None:
    assert no_recording(content, media_type) == media_type


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("begin", [b"", codecs.BOM_UTF8, b"\n"])
def test_fault_88_a_playlist_is_told(begin: bytes, media_type: str) -> None:
    playlist = begin + b"#EXTM3U\n#EXTINF:6,\nsegment0.ts\n"
    assert is_playlist(playlist)
    assert no_recording(playlist, media_type) == ""


@settings(max_examples=40)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
    )
)
def test_no_json_is_a_recording(value: object) -> None:
    assert no_recording(json.dumps(value).encode(), "video/mp4")


@given(content=st.binary(min_size=1, max_size=200), media_type=st.text(max_size=20))
def test_any_bytes_are_something(content: bytes, media_type: str) -> None:
    assert isinstance(no_recording(content, media_type), str)


def test_a_character_that_is_cut_off_does_not_hide_a_text() -> None:
    assert no_recording("größer als ".encode() * HEAD_BYTES) == "text"
    assert no_recording(("ä " * HEAD_BYTES).encode()[1:]) == ""  # it does not begin as UTF-8
