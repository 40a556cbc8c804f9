"""Recordings that wait for their download, packed.

There may be tens of thousands, each with a signed address of a kilobyte; most of that is the same for all.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import msgspec

from hsmirror.mirror.recordings import Recording
from hsmirror.model import Secret

_RAW_DEFLATE = -12
_FAST = 1

Packed: TypeAlias = bytes | Recording


def _reveal(secret: object) -> str:
    assert isinstance(secret, Secret)
    return secret.reveal()


def _conceal(kind: type, text: object) -> Secret:
    assert kind is Secret
    return Secret(str(text))


_encode = msgspec.msgpack.Encoder(enc_hook=_reveal).encode
_decode = msgspec.msgpack.Decoder(Recording, dec_hook=_conceal).decode


class Packer:
    """Packs recordings to a quarter: what they have in common with the first one takes no room.

    A packed one holds a secret, as its address does, and stays in memory.
    """

    def __init__(self) -> None:
        self._first = b""

    def pack(self, recording: Recording) -> Packed:
        try:
            plain = _encode(recording)
        except (UnicodeEncodeError, OverflowError):  # no text, or a size beyond all measure: it stays as it is
            return recording
        if not self._first:
            self._first = plain
        deflate = zlib.compressobj(_FAST, wbits=_RAW_DEFLATE, memLevel=4, zdict=self._first)
        return deflate.compress(plain) + deflate.flush()

    def unpack(self, packed: Packed) -> Recording:
        if isinstance(packed, Recording):
            return packed
        return _decode(zlib.decompressobj(_RAW_DEFLATE, zdict=self._first).decompress(packed))
