"""Sources of recordings: what stays of them from list to list, and which paths of the API are asked for."""

from __future__ import annotations

import pytest

from hsmirror.errors import RefusedAddressError
from hsmirror.mirror.sources import own_path, source_of, without_tokens

HOST = "https://storage.example.org"


@pytest.mark.parametrize(
    ("signed", "source"),
    [
        (f"{HOST}/b/rec.mp4?X-Goog-Date=1&X-Goog-Signature=ab", f"{HOST}/b/rec.mp4"),
        (f"{HOST}/b/rec.mp4?Expires=1&Key-Pair-Id=k&Signature=ab", f"{HOST}/b/rec.mp4"),
        (f"{HOST}/d?file=rec1&Expires=1&Signature=ab", f"{HOST}/d?file=rec1"),
        (f"{HOST}/b/rec.mp4?X-Amz-Signature=ab&versionId=7", f"{HOST}/b/rec.mp4?versionId=7"),
        (f"{HOST}/b/rec.mp4", f"{HOST}/b/rec.mp4"),
    ],
)
def test_a_source_is_a_url_without_its_signature(signed: str, source: str) -> None:
    assert source_of(signed) == source


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/t/abc123/rec1.mp4", "/t/9f86d0/rec1.mp4"),
        ("/t/5f2b9c1e7d3a4b60/rec1.mp4", "/t/0123456789abcdef/rec1.mp4"),
        ("/1700000000/rec1.mp4", "/1800000000/rec1.mp4"),
        ("/t/5f2b9c1e7d3a4b60.mp4", "/t/0123456789abcdef.mp4"),
        ("/d?file=rec1&q=5f2b9c1e7d3a4b60", "/d?file=rec1&q=0123456789abcdef"),
        (f"{HOST}/rec1.mp4", "https://cdn.example.net/rec1.mp4"),
    ],
)
def test_sources_that_differ_in_a_token_or_the_host_are_at_one_place(one: str, other: str) -> None:
    assert without_tokens(one) == without_tokens(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/b/raw.mp4", "/b/final.mp4"),
        ("/raw/rec1.mp4", "/final/rec1.mp4"),
        ("/v1/rec1.mp4", "/v2/rec1.mp4"),
        ("/b/rec1_speaker.mp4", "/b/rec1_gallery.mp4"),
        ("/b/rec1.mp4", "/b/rec1.webm"),
        ("/d?file=rec1", "/d?file=rec2"),
        ("/d?file=rec1&view=1", "/d?file=rec1&view=2"),
    ],
)
def test_sources_that_differ_in_anything_else_are_not(one: str, other: str) -> None:
    assert without_tokens(one) != without_tokens(other)


def test_what_is_no_url_is_at_no_other_place() -> None:
    assert without_tokens("http://[") == "http://["


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/data/recordings/download/r1/rec1", "/data/recordings/download/r1/rec1"),
        ("data/recordings/download/Room A/rec1", "data/recordings/download/Room%20A/rec1"),
        ("/data/recordings/download/röom/rec1", "/data/recordings/download/r%C3%B6om/rec1"),
        ("/data/recordings/download/Room%20A/rec1", "/data/recordings/download/Room%20A/rec1"),
        ("/data/recordings/download/100%/rec1", "/data/recordings/download/100%25/rec1"),
        ("/data/recordings/download/100%zz/rec1", "/data/recordings/download/100%25zz/rec1"),
        ("/data/recordings/download/a|b<c>/rec#1", "/data/recordings/download/a%7Cb%3Cc%3E/rec%231"),
        ("/data/recordings/download/what?/rec1", "/data/recordings/download/what%3F/rec1"),
        ("/data/recordings/download/r1/rec1?type=audio", "/data/recordings/download/r1/rec1?type=audio"),
        ("/data/recordings/download/r1/..rec", "/data/recordings/download/r1/..rec"),
    ],
)
def test_a_download_path_is_sent_as_its_ids_are_meant(given: str, sent: str) -> None:
    assert own_path(given) == sent


@pytest.mark.parametrize(
    "away",
    [
        "//evil.example.org/x",
        "\\\\evil.example.org\\x",
        "/\\evil.example.org/x",
        "https://evil.example.org/x",
        "/data/../../admin",
        "/data/%2e%2E/admin",
        "/data/a%2F..%2fb",
        "/data/..\\admin",
        "/data/x\r\nX-Injected: 1",
        "/data/\ud800",
    ],
)
def test_a_download_path_that_leads_away_is_refused(away: str) -> None:
    with pytest.raises(RefusedAddressError):
        own_path(away)
