"""Checksums by the answers that their definitions give, in whatever pieces the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_serving.weights.checksums import Algorithm, Checksum, begin
from gemma_serving.weights.s3 import checksum_of

CHECK = b"123456789"
"""What the catalogue of CRC algorithms gives check values for; the others are of coreutils and git."""
ANSWERS = {
    Algorithm.CRC32: "cbf43926",
    Algorithm.CRC32C: "e3069283",
    Algorithm.CRC64NVME: "ae8b14860a799888",
    Algorithm.MD5: "25f9e794323b453885f5181f1b624d0b",
    Algorithm.SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    Algorithm.GIT_SHA1: "e2e107ac61ac259b87c544f6e7a4eb03422c6c21",
}


@pytest.mark.parametrize(("algorithm", "answer"), ANSWERS.items())
def test_check_values(algorithm: Algorithm, answer: str) -> None:
    running = begin(algorithm, len(CHECK))
    running.update(CHECK)
    assert running.hexdigest() == answer


@given(st.sampled_from(list(Algorithm)), st.lists(st.binary(max_size=100)))
def test_pieces_change_nothing(algorithm: Algorithm, pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    whole, in_pieces = begin(algorithm, len(content)), begin(algorithm, len(content))
    whole.update(content)
    for piece in pieces:
        in_pieces.update(piece)
    assert whole.hexdigest() == in_pieces.hexdigest()


def test_the_strongest_checksum_of_the_whole_object_is_taken() -> None:
    sums = {"ChecksumCRC32": "y/Q5Jg==", "ChecksumCRC32C": "4waSgw==", "ETag": '"abc-2"'}
    assert checksum_of(sums) == Checksum(Algorithm.CRC32C, "e3069283")
    assert checksum_of({**sums, "ChecksumCRC64NVME": "rosUhgp5mIg="}) == Checksum(
        Algorithm.CRC64NVME, "ae8b14860a799888"
    )


@pytest.mark.parametrize(
    "about",
    [
        {"ETag": '"25f9e794323b453885f5181f1b624d0b-2"'},
        {"ETag": '"25f9e794323b453885f5181f1b624d0b"', "ServerSideEncryption": "aws:kms"},
        {"ETag": '"25f9e794323b453885f5181f1b624d0b"', "ServerSideEncryption": "aws:kms:dsse"},
        {"ETag": '"25f9e794323b453885f5181f1b624d0b"', "SSECustomerAlgorithm": "AES256"},
        {"ETag": '"not-a-digest"'},
        {"ChecksumCRC32": "y/Q5Jg==", "ChecksumType": "COMPOSITE", "ETag": '"abc-2"'},
        {"ChecksumSHA256": "y/Q5Jg==-3", "ETag": '"abc-3"'},
    ],
)
def test_what_is_over_parts_or_a_cipher_is_no_checksum_of_the_content(about: dict[str, str]) -> None:
    assert checksum_of(about) is None


def test_an_entity_tag_of_one_part_is_an_md5() -> None:
    about = {"ETag": '"25f9e794323b453885f5181f1b624d0b"', "ServerSideEncryption": "AES256"}
    assert checksum_of(about) == Checksum(Algorithm.MD5, "25f9e794323b453885f5181f1b624d0b")
