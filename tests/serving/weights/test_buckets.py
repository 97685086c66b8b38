"""What a fetch from a bucket leaves on the volume, asks of the store, and tells the user; alike for both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_serving.weights.outcome import Reason, WeightsError
from support.bucket import BUCKET, FOLDER, WEIGHTS, WEIGHTS_KEY, WEIGHTS_SIZE, BucketFetcher, fill, weights
from support.object_store import ACCESS_KEY, SECRET_KEY, Misbehaviour, ObjectStore, Stored

NO_NODE = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as server:
        fill(server)
        yield server


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    for name, value in {**NO_NODE, **keys}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["gs", "s3"])
def fetcher(request: pytest.FixtureRequest, store: ObjectStore, tmp_path: Path) -> BucketFetcher:
    return BucketFetcher(store, request.param, tmp_path / "volume")


@pytest.fixture
def s3(store: ObjectStore, tmp_path: Path) -> BucketFetcher:
    return BucketFetcher(store, "s3", tmp_path / "volume")


@pytest.fixture
def gcs(store: ObjectStore, tmp_path: Path) -> BucketFetcher:
    return BucketFetcher(store, "gs", tmp_path / "volume")


@pytest.fixture
def nobody(fetcher: BucketFetcher, monkeypatch: pytest.MonkeyPatch) -> BucketFetcher:
    """Without keys, and without an identity."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fetcher.store.state.token_status = 404
    return fetcher


def refusal(fetcher: BucketFetcher, uri: str | None = None, **arguments: tuple[str, ...]) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fetcher.fetch(uri, **arguments)
    return caught.value


def test_files_arrive_verified_and_latest_names_their_revision(fetcher: BucketFetcher) -> None:
    outcome = fetcher.fetch()
    assert outcome.reason is Reason.WEIGHTS_READY
    assert outcome.message.endswith("fetched and verified")
    assert outcome.bytes_done == outcome.bytes_total == WEIGHTS_SIZE + 29
    assert (fetcher.folder() / WEIGHTS).read_bytes() == weights()
    assert fetcher.folder().resolve().name == outcome.revision


def test_only_data_of_that_folder_is_fetched(fetcher: BucketFetcher) -> None:
    fetcher.fetch(patterns=("*",))
    names = {path.name for path in fetcher.folder().iterdir()}
    assert names == {WEIGHTS, "config.json", "manifest.json"}
    asked = {each.key for each in fetcher.store.state.asked}
    assert asked == {WEIGHTS_KEY, f"{FOLDER}/config.json"}


def test_the_manifest_has_sha256_and_what_the_store_calls_each_content(fetcher: BucketFetcher) -> None:
    fetcher.fetch()
    manifest = json.loads((fetcher.folder() / "manifest.json").read_text())
    assert manifest["repository"] == fetcher.uri
    stored = fetcher.store.state.buckets[BUCKET][WEIGHTS_KEY]
    [found] = [file for file in manifest["files"] if file["name"] == WEIGHTS]
    assert found["pin"] == (str(stored.generation) if fetcher.scheme == "gs" else stored.etag)
    assert len(found["sha256"]) == 64


def test_a_second_run_transfers_nothing_and_has_the_same_revision(fetcher: BucketFetcher) -> None:
    first = fetcher.fetch()
    before = fetcher.transfers()
    assert fetcher.fetch().revision == first.revision
    assert fetcher.transfers() == before


def test_one_changed_file_is_another_revision_and_only_that_file_is_fetched(fetcher: BucketFetcher) -> None:
    first = fetcher.fetch()
    fetcher.store.put(BUCKET, f"{FOLDER}/config.json", Stored(b'{"model_type": "gemma3"}'))
    second = fetcher.fetch()
    assert second.revision != first.revision
    assert fetcher.transfers() == [(None, WEIGHTS_SIZE)]
    assert (fetcher.folder() / "config.json").read_bytes() == b'{"model_type": "gemma3"}'


def test_what_is_present_serves_while_the_store_is_down(fetcher: BucketFetcher) -> None:
    revision = fetcher.fetch().revision
    fetcher.store.misbehave(Misbehaviour(status=503))
    outcome = fetcher.fetch()
    assert outcome.revision == revision
    assert "503" in outcome.message


def test_a_store_that_is_down_is_asked_again_and_then_told_of(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(status=503))
    error = refusal(fetcher)
    assert error.reason is Reason.FETCH_FAILED
    assert fetcher.pauses == [1.0, 2.0]


def test_a_cut_transfer_goes_on_where_it_stopped(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(cut_after_bytes=1_000_000))
    fetcher.fetch()
    assert (fetcher.folder() / WEIGHTS).read_bytes() == weights()
    starts = [wanted for wanted, _ in fetcher.transfers()]
    assert starts[0] is None
    assert all(wanted is not None for wanted in starts[1:])
    assert len(starts) > 1


def test_a_byte_that_is_wrong_once_is_fetched_again(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(corrupt_at=2_000_000, corrupt_times=1))
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY
    assert (fetcher.folder() / WEIGHTS).read_bytes() == weights()


@pytest.mark.parametrize(
    ("scheme", "stored", "algorithm"),
    [
        ("gs", Stored(weights()), "md5"),
        ("gs", Stored(weights(), parts=3), "crc32c"),
        ("s3", Stored(weights()), "md5"),
        ("s3", Stored(weights(), checksum="sha256"), "sha256"),
        ("s3", Stored(weights(), parts=3, checksum="crc64nvme"), "crc64nvme"),
        ("s3", Stored(weights(), parts=3, checksum="crc32"), "crc32"),
        ("s3", Stored(weights(), encryption="aws:kms", checksum="crc64nvme"), "crc64nvme"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_byte_that_stays_wrong_is_found_whatever_checksum_the_store_gives(
    store: ObjectStore, tmp_path: Path, scheme: str, stored: Stored, algorithm: str
) -> None:
    fetcher = BucketFetcher(store, scheme, tmp_path / "volume")
    store.put(BUCKET, WEIGHTS_KEY, stored)
    fetcher.store.misbehave(Misbehaviour(corrupt_at=2_000_000))
    error = refusal(fetcher)
    assert error.reason is Reason.CORRUPT
    assert f"({algorithm} " in str(error)
    assert not (fetcher.folder() / WEIGHTS).exists()
    fetcher.store.misbehave(Misbehaviour())
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY


@pytest.mark.parametrize(
    "stored",
    [
        Stored(weights(), parts=3),
        Stored(weights(), parts=3, checksum="crc32", composite=True),
        Stored(weights(), encryption="aws:kms"),
    ],
    ids=["in parts", "checksum of parts", "key of its owner"],
)
def test_an_object_without_a_checksum_of_its_content_is_said_to_be_verified_by_size_only(
    s3: BucketFetcher, stored: Stored
) -> None:
    s3.store.put(BUCKET, WEIGHTS_KEY, stored)
    assert "1 of them by size only" in s3.fetch().message
    assert (s3.folder() / WEIGHTS).read_bytes() == weights()


def test_an_object_replaced_between_listing_and_reading_is_refused(fetcher: BucketFetcher) -> None:
    def replace_once(key: str) -> None:
        if key == WEIGHTS_KEY:
            fetcher.store.state.before_read = lambda key: None
            fetcher.store.put(BUCKET, WEIGHTS_KEY, Stored(weights(seed=1)))

    fetcher.store.state.before_read = replace_once
    error = refusal(fetcher)
    assert error.reason is Reason.FETCH_FAILED
    assert "was replaced or deleted while it was fetched" in str(error)
    assert not fetcher.folder().exists()
    fetcher.fetch()
    assert (fetcher.folder() / WEIGHTS).read_bytes() == weights(seed=1)


def test_a_transfer_cut_in_the_middle_of_a_replaced_object_is_no_mixture(fetcher: BucketFetcher) -> None:
    reads: list[str] = []

    def replace_on_resuming(key: str) -> None:
        reads.append(key)
        # A look at the first byte, the transfer that is cut, and the one that would go on.
        if reads.count(WEIGHTS_KEY) == 3:
            fetcher.store.put(BUCKET, WEIGHTS_KEY, Stored(weights(seed=1)))

    fetcher.store.misbehave(Misbehaviour(cut_after_bytes=1_000_000))
    fetcher.store.state.before_read = replace_on_resuming
    assert "was replaced" in str(refusal(fetcher))
    fetcher.store.misbehave(Misbehaviour())
    fetcher.fetch()
    assert (fetcher.folder() / WEIGHTS).read_bytes() == weights(seed=1)


def test_a_uri_may_name_one_file(fetcher: BucketFetcher) -> None:
    uri = f"{fetcher.scheme}://{BUCKET}/quantized/mine.gguf"
    fetcher.store.put(BUCKET, "quantized/mine.gguf", Stored(b"GGUF mine"))
    fetcher.store.put(BUCKET, "quantized/mine.gguf.json", Stored(b"{}"))
    fetcher.fetch(uri, patterns=("mine.gguf",))
    assert {path.name for path in fetcher.folder(uri).iterdir()} == {"mine.gguf", "manifest.json"}


def test_a_whole_bucket_may_be_one_checkpoint(fetcher: BucketFetcher) -> None:
    fetcher.store.put("alone", WEIGHTS, Stored(weights()))
    uri = f"{fetcher.scheme}://alone"
    fetcher.fetch(uri)
    assert (fetcher.folder(uri) / WEIGHTS).read_bytes() == weights()


def test_keys_with_unusual_characters_are_read(fetcher: BucketFetcher) -> None:
    uri = f"{fetcher.scheme}://{BUCKET}/für uns/a+b%41"
    fetcher.store.put(BUCKET, "für uns/a+b%41/model.safetensors", Stored(b"weights"))
    fetcher.fetch(uri)
    assert (fetcher.folder(uri) / WEIGHTS).read_bytes() == b"weights"


def test_a_folder_without_weights_is_refused(fetcher: BucketFetcher) -> None:
    fetcher.store.put(BUCKET, "configured/config.json", Stored(b"{}"))
    error = refusal(fetcher, f"{fetcher.scheme}://{BUCKET}/configured")
    assert error.reason is Reason.NOT_FOUND
    assert "no file of" in str(error)
    assert "config.json" in str(error)


def test_a_folder_of_pickles_is_refused(fetcher: BucketFetcher) -> None:
    fetcher.store.put(BUCKET, "pickled/pytorch_model.bin", Stored(b"\x80\x02"))
    error = refusal(fetcher, f"{fetcher.scheme}://{BUCKET}/pickled")
    assert error.reason is Reason.NOT_FOUND
    assert "needs safetensors or GGUF" in str(error)


def test_a_path_that_does_not_exist_is_refused(fetcher: BucketFetcher) -> None:
    error = refusal(fetcher, f"{fetcher.scheme}://{BUCKET}/nothing/here")
    assert error.reason is Reason.NOT_FOUND
    assert f"{BUCKET}/nothing/here" in str(error)


def test_a_bucket_that_does_not_exist_is_refused(fetcher: BucketFetcher) -> None:
    error = refusal(fetcher, f"{fetcher.scheme}://no-such-bucket/x")
    assert error.reason is Reason.NOT_FOUND
    assert "no-such-bucket" in str(error)


def test_a_prefix_of_too_many_objects_is_no_checkpoint(fetcher: BucketFetcher) -> None:
    for number in range(1001):
        fetcher.store.put("heap", f"{number:04}.json", Stored(b"{}"))
    error = refusal(fetcher, f"{fetcher.scheme}://heap")
    assert error.reason is Reason.NOT_FOUND
    assert "name the folder of one checkpoint" in str(error)


def test_a_public_bucket_needs_nobody(nobody: BucketFetcher) -> None:
    assert nobody.fetch().reason is Reason.WEIGHTS_READY


def test_a_bucket_that_is_not_public_asks_for_an_identity(nobody: BucketFetcher) -> None:
    nobody.store.misbehave(Misbehaviour(keeps_out=True))
    error = refusal(nobody)
    assert error.reason is Reason.TOKEN_REQUIRED
    assert "is not public" in str(error)
    assert ("Workload Identity" if nobody.scheme == "gs" else "credentialsSecretRef") in str(error)


def test_an_identity_lets_in(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(keeps_out=True))
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY


def test_an_identity_that_may_not_read_is_told_what_it_needs(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(forbids=True))
    error = refusal(fetcher)
    assert error.reason is Reason.ACCESS_DENIED
    assert ("roles/storage.objectViewer" if fetcher.scheme == "gs" else "s3:GetObject") in str(error)


def test_nothing_big_is_asked_for_before_access_and_space_are_known(fetcher: BucketFetcher) -> None:
    fetcher.store.misbehave(Misbehaviour(forbids=True))
    refusal(fetcher)
    assert fetcher.transfers() == []


def test_a_compressed_object_is_refused_by_name(gcs: BucketFetcher) -> None:
    gcs.store.put(BUCKET, f"{FOLDER}/config.json", Stored(b"\x1f\x8b", encoding="gzip"))
    error = refusal(gcs)
    assert "config.json" in str(error)
    assert "upload it uncompressed" in str(error)
