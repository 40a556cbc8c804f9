"""What the bytes of a file are, by how they begin: a recording, or something else in its place.

A storage host's word for it counts little: error pages come as `video/mp4`, films as `text/plain`.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Final

HEAD_BYTES: Final = 64 << 10
"""How much of a file is looked at."""

GZIP: Final = b"\x1f\x8b\x08"
_PLAYLIST = b"#EXTM3U"
_LONGEST_CHARACTER_BYTES = 4
_WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

_CONTAINERS = re.compile(
    rb"""
      .{4}(?:ftyp|moov|mdat|moof|styp|sidx|free|skip|wide|pnot)   # MP4, QuickTime, 3GP, and their fragments
    | \x1a\x45\xdf\xa3                                            # Matroska, WebM
    | OggS | fLaC | ID3 | caff | \#!AMR | FLV\x01 | DKIF | wvpk | \.snd | \.RMF
    | RIFF.{4}(?:WAVE|AVI[ ]) | (?:RF64|BW64).{4}WAVE | FORM.{4}AIF[FC]
    | \xff[\xf0\xf1\xf8\xf9]                                      # AAC in ADTS
    | \xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]                # MPEG audio
    | \x47.{187}\x47 | .{4}\x47.{191}\x47                         # MPEG transport streams
    | \x00\x00\x01[\xb3\xba] | \x00\x00\x00?\x01[\x67\x27\x40]    # MPEG programme, video, H.264, H.265
    | \x0b\x77 | \x30\x26\xb2\x75\x8e\x66 | \x06\x0e\x2b\x34      # AC-3, ASF, MXF
    """,
    re.DOTALL | re.VERBOSE,
)
_OTHERS = (
    (
        "a picture",
        rb"\x89PNG\r\n|\xff\xd8\xff[\xc0-\xfe]|GIF8[79]a|RIFF.{4}WEBP|II\*\x00|MM\x00\*|BM.{4}\x00{4}",
    ),
    ("a picture", rb".{4}ftyp(?:avif|avis|heic|heix|mif1|msf1)"),
    ("a PDF document", rb"%PDF-"),
    ("an Office document", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("an archive", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|.{257}ustar"),
    ("compressed", rb"\xfd7zXZ\x00|BZh[1-9]1AY|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18"),
    (
        "a program",
        rb"\x7fELF|MZ\x90\x00|MZ.{62}.{0,512}PE\x00\x00|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe|\x00asm",
    ),
    ("a database", rb"SQLite\ format\ 3\x00|PAR1"),
    ("a font", rb"wOF[F2]|OTTO\x00"),
)
_OTHER_KINDS = [(kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _OTHERS]

_PAGE = re.compile(r"\s*<(?:\?xml|!doctype|html)\b", re.IGNORECASE)
_MARKUP = re.compile(r"\s*<(?:[!?][a-z\[-]|[a-z][\w:.-]*[\s/>])", re.IGNORECASE)
_JSON_BEGINS = re.compile(r"""\s*(?:\{\s*"|\[\s*[\[\]{"\d-])""")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MEDIA_TYPES = re.compile(
    r"(?:audio|video)/|application/(?:octet-stream|mp4|ogg|x-mpegurl|vnd\.apple\.mpegurl|x-matroska|mxf)\b"
    r"|binary/|(?:application/)?(?:x-)?(?:gzip|download|force-download|unknown|binary)\b|$",
    re.IGNORECASE,
)
_TEXT_TYPES = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|javascript)\b", re.IGNORECASE)
_FOREIGN_TYPES = re.compile(r"image/|font/|application/(?:pdf|zip)\b", re.IGNORECASE)


def is_container(head: bytes) -> bool:
    """Does it begin as a file of sound or film does?"""
    if _CONTAINERS.match(head) is None or any(kind.match(head) for _, kind in _OTHER_KINDS):
        return False
    return not (head.startswith(_WIDE_BOMS) and _text(head) is not None)  # UTF-16 begins as MPEG audio does


def is_playlist(head: bytes) -> bool:
    """An HLS playlist: text that names where the segments of a film are."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_PLAYLIST)


def no_recording(head: bytes, media_type: str = "") -> str:
    """What a file is that is no recording; empty where it may be one.

    `head` is its beginning, `media_type` what its host calls it. Bytes that nothing is known of may be a
    recording, as long as they are no text.
    """
    head = head[:HEAD_BYTES]
    for kind, pattern in _OTHER_KINDS:
        if pattern.match(head):
            return kind
    if is_container(head) or is_playlist(head) or head.startswith(GZIP):
        return ""
    text = _text(head)
    if text is None:
        return _no_binary_recording(head.decode("latin-1"), media_type)
    return _no_text_recording(text, media_type)


def _no_binary_recording(head: str, media_type: str) -> str:
    if _PAGE.match(head):
        return "a page"
    is_text = _TEXT_TYPES.match(media_type) and not _CONTROLS.search(head)  # in some 8-bit encoding
    return media_type if is_text or _FOREIGN_TYPES.match(media_type) else ""


def _no_text_recording(text: str, media_type: str) -> str:
    if _MARKUP.match(text):
        return "a page"
    if _is_json(text):
        return "JSON"
    if text and not _MEDIA_TYPES.match(media_type):
        return media_type
    # One long word may be a format of its own; whoever sets words apart writes of an error.
    return "text" if text.strip() and any(each.isspace() for each in text) else ""


def _is_json(text: str) -> bool:
    if len(text.encode()) > HEAD_BYTES - _LONGEST_CHARACTER_BYTES:  # the rest is not here
        return _JSON_BEGINS.match(text) is not None
    try:
        return type(json.loads(text)) not in {int, float}
    except (ValueError, RecursionError):
        return False


def _text(head: bytes) -> str | None:
    """The beginning of a file as text, a last character that is cut off left away; None where it is none."""
    encoding = next((name for bom, name in _BOMS.items() if head.startswith(bom)), "utf-8")
    try:
        text = (
            codecs.getincrementaldecoder(encoding)()
            .decode(head, final=len(head) < HEAD_BYTES)
            .removeprefix("\ufeff")
        )
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text
