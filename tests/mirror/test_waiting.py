"""Recordings that wait are packed: the same come out, and they are small."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from hsmirror.api.addresses import SignedAddress
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.waiting import Packer
from hsmirror.model import Secret

texts = st.text(st.characters(), max_size=30)  # lone surrogates among them, as in JSON
addresses = st.builds(
    SignedAddress, texts.map(Secret), texts, st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
recordings = st.builds(
    Recording,
    experiment=texts,
    room=st.none() | texts,
    recording_id=texts,
    extension=texts,
    source=texts,
    size_bytes=st.none() | st.integers(0, 1 << 70),
    started_at=texts,
    address=st.none() | addresses,
    mint_path=st.none() | texts,
)


@given(st.lists(recordings, min_size=1, max_size=5))
def test_what_was_packed_comes_out_as_it_was(waiting: list[Recording]) -> None:
    packer = Packer()
    packed = [packer.pack(each) for each in waiting]
    assert [packer.unpack(each) for each in packed] == waiting


def test_an_address_takes_little_more_than_its_signature() -> None:
    """256 bytes of it are random, and written in hexadecimal digits."""
    random = Random(4)
    packer = Packer()
    packed = [packer.pack(recording(number, random.randbytes(256).hex())) for number in range(100)]
    sizes = [len(each) for each in packed if isinstance(each, bytes)]
    assert len(sizes) == 100
    assert max(sizes[1:]) < 256 + 128


def recording(number: int, signature: str) -> Recording:
    """As Google signs them."""
    source = f"/hyperstudy-recordings/exp_research_001/room_{number % 7:05d}/rec_{number:06d}.mp4"
    credential = "recorder%40hyperstudy.iam.gserviceaccount.com%2F20261123%2Fauto%2Fstorage%2Fgoog4_request"
    url = (
        f"https://storage.googleapis.com{source}?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={credential}"
        f"&X-Goog-Date=20261123T020000Z&X-Goog-Expires=604800&X-Goog-SignedHeaders=host&X-Goog-Signature={signature}"
    )
    return Recording(
        experiment="exp_research_001",
        room=f"room_{number % 7:05d}",
        recording_id=f"rec_{number:06d}",
        extension="mp4",
        source=source,
        size_bytes=50_000_000 + number,
        started_at="2026-11-23T02:00:00.000Z",
        address=SignedAddress(Secret(url), "storage.googleapis.com", 1_796_004_000.0),
    )
