"""Signed addresses: what opens them, and what they say of themselves."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from hsmirror.lab.signing import AddressSigner, Verdict

NOW = 1_700_000_000.0
PATH = "/bucket/recordings/room 1/rec_1.mp4"
SIGNERS = [AddressSigner(b"secret", "gcs"), AddressSigner(b"secret", "s3")]
DIALECTS = pytest.mark.parametrize("signer", SIGNERS, ids=["gcs", "s3"])


def parameters(signer: AddressSigner, **more) -> dict[str, str]:
    return dict(parse_qsl(signer.query(PATH, now=NOW, life_seconds=60, **more)))


@DIALECTS
def test_an_address_is_good_until_its_last_second(signer):
    given = parameters(signer)
    assert signer.verdict("GET", PATH, given, now=NOW) is Verdict.GOOD
    assert signer.verdict("GET", PATH, given, now=NOW + 59.9) is Verdict.GOOD
    assert signer.verdict("GET", PATH, given, now=NOW + 60) is Verdict.EXPIRED


@DIALECTS
def test_the_verb_and_the_path_are_signed(signer):
    given = parameters(signer)
    assert signer.verdict("HEAD", PATH, given, now=NOW) is Verdict.WRONG
    assert signer.verdict("GET", PATH + "x", given, now=NOW) is Verdict.WRONG
    assert signer.verdict("HEAD", PATH, parameters(signer, verb="HEAD"), now=NOW) is Verdict.GOOD


@DIALECTS
def test_every_signed_parameter_counts(signer):
    given = parameters(signer)
    for name in given:
        if name.endswith(("Credential", "Date", "Expires", "Signature")):
            tampered = given | {name: given[name][:-1] + "9"}
            assert signer.verdict("GET", PATH, tampered, now=NOW) is Verdict.WRONG


@DIALECTS
def test_a_life_cannot_be_lengthened_by_the_bearer(signer):
    given = parameters(signer)
    longer = {name: "9999" if name.endswith("Expires") else value for name, value in given.items()}
    assert signer.verdict("GET", PATH, longer, now=NOW + 100) is Verdict.WRONG


@DIALECTS
def test_no_signature_is_unsigned(signer):
    assert signer.verdict("GET", PATH, {}, now=NOW) is Verdict.UNSIGNED


def test_the_parameters_have_the_vendors_names():
    google, amazon = (parameters(signer) for signer in SIGNERS)
    assert google["X-Goog-Algorithm"] == "GOOG4-HMAC-SHA256"
    assert google["X-Goog-Date"] == "20231114T221320Z"
    assert google["X-Goog-Expires"] == "60"
    assert google["X-Goog-SignedHeaders"] == "host"
    assert google["X-Goog-Credential"].endswith("/20231114/auto/storage/goog4_request")
    assert len(google["X-Goog-Signature"]) == 64
    assert {name.replace("X-Amz-", "X-Goog-") for name in amazon} == set(google)


def test_another_secret_makes_another_signature():
    given = parameters(AddressSigner(b"other"))
    assert SIGNERS[0].verdict("GET", PATH, given, now=NOW) is Verdict.WRONG


def test_the_secret_is_not_shown():
    assert "secret" not in repr(SIGNERS[0])
