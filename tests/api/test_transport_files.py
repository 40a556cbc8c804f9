"""Recording files over real loopback connections: ranges, expiry, hashes, redirects; and never the key."""

from __future__ import annotations

import asyncio
import base64
import errno
from email.utils import formatdate

import pytest
from canned_server import (
    GOOGLE_EXPIRED,
    KEY,
    NOW,
    answer,
    download,
    serving,
    talking_to,
)

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.headers import OfferedHashes
from hsmirror.errors import (
    AddressExpiredError,
    CorruptError,
    ForbiddenError,
    NotFoundError,
    PermanentError,
    RefusedAddressError,
    StorageError,
    ThrottledError,
    TransientError,
    UpstreamError,
)
from hsmirror.model import Secret


# --- recording files --------------------------------------------------------------------------------------
async def test_a_file_is_asked_for_without_the_key_and_byte_by_byte_as_its_address_was_signed() -> None:
    async with serving(answer(body=b"film")) as server:
        address = parse_address(f"{server.url}/a%2Fb/c%20d.mp4?sig=a%2Bb&x=%7E", loopback_allowed=True)
        stream, body = await download(server, address)
    (heard,) = server.heard
    assert heard.target == "/a%2Fb/c%20d.mp4?sig=a%2Bb&x=%7E"
    assert KEY not in str(heard)
    assert "range" not in heard.headers
    assert heard.headers["accept-encoding"] == "identity"
    assert body == b"film"
    assert (stream.status, stream.start, stream.total_bytes) == (200, 0, 4)


async def test_a_file_comes_in_pieces_of_about_the_size_asked_for() -> None:
    body = bytes(3_000_000)
    async with (
        serving(answer(body=body)) as server,
        talking_to(server.url) as wire,
        wire.open_file(server.address()) as stream,
    ):
        sizes = [len(piece) async for piece in stream.pieces(1_000_000)]
    assert sum(sizes) == len(body)
    assert all(size >= 1_000_000 for size in sizes[:-1])


async def test_fault_25_a_download_goes_on_from_its_byte() -> None:
    partial = answer("206 Partial Content", b"lm", Content_Range="bytes 2-3/4", ETag='"e"')
    async with (
        serving(partial) as server,
        talking_to(server.url) as wire,
        wire.open_file(server.address(), start=2, if_match='"e"') as stream,
    ):
        assert b"".join([piece async for piece in stream.pieces(10)]) == b"lm"
    assert (stream.status, stream.start, stream.total_bytes, stream.version.etag) == (206, 2, 4, '"e"')
    assert server.heard[0].headers["range"] == "bytes=2-"
    assert server.heard[0].headers["if-match"] == '"e"'


async def test_fault_28_a_range_that_is_ignored_means_from_zero() -> None:
    async with serving(answer(body=b"film")) as server:
        stream, body = await download(server, start=2)
    assert (stream.status, stream.start, body) == (200, 0, b"film")


@pytest.mark.parametrize("span", ["bytes 0-3/4", "bytes 1-3/4", "bytes 3-2/4", "bytes */4", "", "2-3/4"])
async def test_fault_29_another_range_than_asked_for_is_refused(span: str) -> None:
    async with serving(answer("206 Partial Content", b"lm", Content_Range=span)) as server:
        with pytest.raises(CorruptError, match="another range"):
            await download(server, start=2)


async def test_fault_30_a_416_tells_the_objects_size() -> None:
    async with serving(answer("416 Range Not Satisfiable", b"", Content_Range="bytes */4")) as server:
        stream, _ = await download(server, start=9)
    assert (stream.status, stream.total_bytes) == (416, 4)


async def test_fault_31_a_412_says_that_the_object_changed() -> None:
    async with serving(answer("412 Precondition Failed", b"")) as server:
        stream, _ = await download(server, start=2)
    assert stream.status == 412


@pytest.mark.parametrize("kind", ["text/html", "application/xml", "text/xml; charset=utf-8"])
async def test_fault_34_a_page_under_200_is_no_recording(kind: str) -> None:
    async with serving(answer(body=b"<x/>", Content_Type=kind)) as server:
        with pytest.raises(CorruptError, match="instead of a recording"):
            await download(server)


MD5, CRC = bytes(range(16)), bytes(range(4))


def google_hashes(*fields: str) -> str:
    return "\r\nx-goog-hash: ".join(fields)


async def test_the_providers_hashes_are_taken_even_from_several_fields() -> None:
    """Google sends one `x-goog-hash` field for each of its hashes."""
    crc32c, md5 = (
        f"{name}={base64.b64encode(value).decode()}" for name, value in (("crc32c", CRC), ("md5", MD5))
    )
    for fields in ((f"{crc32c},{md5}",), (crc32c, md5), (md5, crc32c)):
        async with serving(answer(body=b"film", x_goog_hash=google_hashes(*fields))) as server:
            stream, _ = await download(server)
        assert stream.hashes == OfferedHashes(md5=MD5, crc32c=CRC)


async def test_the_hashes_of_an_object_that_is_inflated_on_the_way_are_of_other_bytes() -> None:
    md5 = f"md5={base64.b64encode(MD5).decode()}"
    inflated = answer(body=b"film", x_goog_hash=md5, x_goog_stored_content_encoding="gzip")
    async with serving(inflated) as server:
        stream, _ = await download(server)
    assert not stream.hashes


async def test_fault_17_a_file_cut_short_is_an_error_after_the_bytes_that_came() -> None:
    received = b""
    async with serving(answer(body=b"fi", Content_Length=4)) as server, talking_to(server.url) as wire:
        with pytest.raises(TransientError):
            async with wire.open_file(server.address()) as stream:
                async for piece in stream.pieces(1):
                    received += piece
    assert received == b"fi"


AMAZON_EXPIRED = b"<Error><Code>AccessDenied</Code><ServerTime>2023-11-14T22:13:20Z</ServerTime></Error>"
AMAZON_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


async def test_fault_27_an_expired_address_answers_400_on_google() -> None:
    async with serving(answer("400 Bad Request", GOOGLE_EXPIRED)) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


async def test_fault_27_an_expired_address_answers_403_on_amazon() -> None:
    async with serving(answer("403 Forbidden", AMAZON_EXPIRED)) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


async def test_fault_27_a_403_that_says_nothing_is_an_expiry_once_the_address_has_expired_by_its_own_time() -> (
    None
):
    async with serving(answer("403 Forbidden", b"")) as server:
        with pytest.raises(AddressExpiredError):
            await download(server, server.address(Expires=f"{NOW - 1:.0f}"))
        with pytest.raises(ForbiddenError):
            await download(server, server.address(Expires=f"{NOW + 60:.0f}"))


async def test_fault_26_the_servers_date_decides_whether_an_address_has_expired() -> None:
    ahead = answer("403 Forbidden", b"", Date=formatdate(NOW + 3600, usegmt=True))
    async with serving(ahead) as server:
        with pytest.raises(AddressExpiredError):
            await download(server, server.address(Expires=f"{NOW + 60:.0f}"))


async def test_a_denial_that_is_no_expiry_is_final() -> None:
    async with serving(answer("403 Forbidden", AMAZON_DENIED)) as server:
        with pytest.raises(ForbiddenError, match="AccessDenied"):
            await download(server)


async def test_fault_27_the_providers_code_is_found_however_its_answer_is_cut_into_packets() -> None:
    async def in_two_packets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = answer("400 Bad Request", GOOGLE_EXPIRED)
        writer.write(whole[:-70])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(whole[-70:])

    async with serving(in_two_packets) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


FILE_STATUSES: dict[str, type[UpstreamError]] = {
    "404 Not Found": NotFoundError,
    "410 Gone": PermanentError,
    "429 Too Many Requests": ThrottledError,
    "500 Internal Server Error": TransientError,
    "503 Service Unavailable": TransientError,
    "504 Gateway Timeout": TransientError,
    "401 Unauthorized": ForbiddenError,
    "204 No Content": PermanentError,
}


@pytest.mark.parametrize("status", FILE_STATUSES)
async def test_a_storage_hosts_statuses_are_classified_too(status: str) -> None:
    async with serving(answer(status, b"")) as server:
        with pytest.raises(UpstreamError) as caught:
            await download(server)
    assert type(caught.value) is FILE_STATUSES[status]


async def test_a_file_may_be_redirected_to_another_host_without_the_key() -> None:
    async with (
        serving(answer(body=b"film")) as other,
        serving(answer("302 Found", Location=f"{other.url}/f")) as server,
    ):
        _, body = await download(server)
    assert body == b"film"
    assert KEY not in str(other.heard)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://10.0.0.1/", "https://169.254.169.254/", "ftp://h/"]
)
async def test_fault_39_a_file_is_not_redirected_to_where_its_address_may_not_lead(location: str) -> None:
    async with serving(answer("302 Found", Location=location)) as server:
        with pytest.raises(RefusedAddressError):
            await download(server)


async def test_redirects_of_a_file_in_a_circle_end() -> None:
    async with serving(answer("302 Found", Location="/again")) as server:
        with pytest.raises(PermanentError, match="circle"):
            await download(server)


async def test_fault_39_a_name_that_resolves_to_a_private_address_is_not_visited() -> None:
    """An address whose host passed for a public name until it was looked up."""
    async with serving(answer(body=b"secret")) as server, talking_to("https://api.example.com") as wire:
        address = SignedAddress(Secret(f"https://localhost:{server.port}/f"), "recordings.example.com", None)
        with pytest.raises(RefusedAddressError, match="private address"):
            async with wire.open_file(address):
                pytest.fail("it was visited")
    assert not server.heard


async def test_loopback_is_refused_for_files_where_the_api_is_elsewhere() -> None:
    async with talking_to("https://api.example.com") as wire:
        assert not wire.loopback_allowed


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), StorageError("full"), KeyError("x")])
async def test_what_the_caller_raises_while_a_file_is_open_is_not_blamed_on_the_host(
    failure: Exception,
) -> None:
    async with serving(answer(body=b"film")) as server, talking_to(server.url) as wire:
        with pytest.raises(type(failure)) as caught:
            async with wire.open_file(server.address()):
                raise failure
    assert caught.value is failure
