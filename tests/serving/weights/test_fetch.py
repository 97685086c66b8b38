"""What a fetch leaves on the volume, asks of the hub, and tells the user."""

import json
from pathlib import Path

import pytest

from gemma_devcluster.mirror import ACCEPTED_TOKEN, INVALID_TOKEN, Faults, commit_of, files_of
from gemma_serving.weights.outcome import Reason, WeightsError
from support.hub import PATTERNS, REPOSITORY, WEIGHTS, WEIGHTS_SIZE, Fetcher

GATED = Faults(gated=True)


def refusal(fetcher: Fetcher, **arguments: object) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fetcher.fetch(**arguments)  # type: ignore[arg-type]
    return caught.value


def test_files_arrive_verified_below_the_commit_and_the_revision_names_it(
    fetcher: Fetcher, model: Path
) -> None:
    outcome = fetcher.fetch()
    commit = commit_of(files_of(model))
    assert outcome.reason is Reason.WEIGHTS_READY
    assert outcome.revision == commit
    assert outcome.bytes_done == outcome.bytes_total == WEIGHTS_SIZE + 29 + 18
    assert fetcher.file().read_bytes() == (model / WEIGHTS).read_bytes()
    assert fetcher.file().resolve().parent == fetcher.target / "acme--tiny" / commit


def test_the_manifest_lists_name_size_and_sha256_of_every_file(fetcher: Fetcher, model: Path) -> None:
    outcome = fetcher.fetch()
    manifest = json.loads(fetcher.file("manifest.json").read_text())
    assert manifest["commit"] == outcome.revision
    assert [(file["name"], file["size"]) for file in manifest["files"]] == [
        ("config.json", 29),
        (WEIGHTS, WEIGHTS_SIZE),
        ("tokenizer.json", 18),
    ]
    described = {file.name: file.sha256 for file in files_of(model)}
    assert {f["name"]: f["sha256"] for f in manifest["files"]}[WEIGHTS] == described[WEIGHTS]
    assert all(len(file["sha256"]) == 64 for file in manifest["files"])


def test_nothing_that_can_run_code_is_fetched_whatever_the_pattern(fetcher: Fetcher) -> None:
    fetcher.fetch(patterns=("*",))
    names = {path.name for path in fetcher.file().parent.iterdir()}
    assert names == {WEIGHTS, "config.json", "tokenizer.json", "manifest.json"}
    assert not [request for request in fetcher.mirror.requests if request.path.endswith((".bin", ".py"))]


def test_a_pattern_for_a_pickle_is_refused_by_name(fetcher: Fetcher) -> None:
    error = refusal(fetcher, patterns=("pytorch_model.bin",))
    assert error.reason is Reason.NOT_FOUND
    assert "pytorch_model.bin" in str(error)
    assert "can run code" in str(error)


def test_a_pattern_that_matches_nothing_says_what_there_is(fetcher: Fetcher) -> None:
    error = refusal(fetcher, patterns=("tiny-Q8_0.gguf",))
    assert error.reason is Reason.NOT_FOUND
    assert "'tiny-Q8_0.gguf'" in str(error)
    assert WEIGHTS in str(error)


def test_a_second_run_transfers_nothing(fetcher: Fetcher) -> None:
    first = fetcher.fetch()
    before = fetcher.transfers()
    second = fetcher.fetch()
    assert second.revision == first.revision
    assert fetcher.transfers() == before


def test_a_present_commit_is_not_even_asked_about(fetcher: Fetcher) -> None:
    commit = fetcher.fetch().revision
    before = len(fetcher.mirror.requests)
    assert fetcher.fetch(revision=str(commit)).reason is Reason.WEIGHTS_READY
    assert len(fetcher.mirror.requests) == before


def test_a_present_branch_serves_while_the_hub_is_down(fetcher: Fetcher) -> None:
    commit = fetcher.fetch().revision
    fetcher.mirror.set_faults(REPOSITORY, Faults(status=503))
    outcome = fetcher.fetch()
    assert outcome.revision == commit
    assert "503" in outcome.message


def test_an_absent_branch_fails_after_the_delays_while_the_hub_is_down(fetcher: Fetcher) -> None:
    fetcher.mirror.set_faults(REPOSITORY, Faults(status=503))
    error = refusal(fetcher)
    assert error.reason is Reason.FETCH_FAILED
    assert fetcher.pauses == [1.0, 2.0]


def test_more_patterns_on_a_present_commit_fetch_only_what_is_missing(fetcher: Fetcher) -> None:
    fetcher.fetch(patterns=("*.json",))
    fetcher.fetch(patterns=("*.gguf",))
    fetcher.fetch(patterns=("*.json",))
    resolved = [r.path.rpartition("/")[2] for r in fetcher.mirror.requests if r.method == "GET"]
    assert [resolved.count(name) for name in ("config.json", "tokenizer.json")] == [1, 1]
    assert len(fetcher.transfers()) == 1


def test_a_new_commit_takes_unchanged_files_from_the_one_before(fetcher: Fetcher, model: Path) -> None:
    first = fetcher.fetch()
    (model / "config.json").write_text('{"model_type": "gemma3_text", "changed": true}')
    second = fetcher.fetch()
    assert second.revision != first.revision
    assert len(fetcher.transfers()) == 1
    assert fetcher.file().read_bytes() == (model / WEIGHTS).read_bytes()
    assert "changed" in fetcher.file("config.json").read_text()


def test_a_gated_repository_without_a_token_asks_for_one_before_any_transfer(fetcher: Fetcher) -> None:
    fetcher.mirror.set_faults(REPOSITORY, GATED)
    error = refusal(fetcher)
    assert error.reason is Reason.TOKEN_REQUIRED
    assert "tokenSecretRef" in str(error)
    assert fetcher.transfers() == []
    assert fetcher.pauses == []


@pytest.mark.parametrize(("token", "word"), [("hf_stranger", "licence"), (INVALID_TOKEN, "renew")])
def test_a_token_that_does_not_open_the_gate_is_denied(fetcher: Fetcher, token: str, word: str) -> None:
    fetcher.mirror.set_faults(REPOSITORY, GATED)
    error = refusal(fetcher, token=token)
    assert error.reason is Reason.ACCESS_DENIED
    assert word in str(error)
    assert token not in str(error)


def test_an_accepted_token_opens_the_gate(fetcher: Fetcher) -> None:
    fetcher.mirror.set_faults(REPOSITORY, GATED)
    assert fetcher.fetch(token=ACCEPTED_TOKEN).reason is Reason.WEIGHTS_READY


def test_an_unknown_repository_is_not_found_for_who_is_signed_in(fetcher: Fetcher) -> None:
    error = refusal(fetcher, repository="acme/large", token=ACCEPTED_TOKEN)
    assert error.reason is Reason.NOT_FOUND
    assert "acme/large" in str(error)


def test_an_unknown_repository_may_be_a_private_one_for_who_is_not(fetcher: Fetcher) -> None:
    error = refusal(fetcher, repository="acme/large")
    assert error.reason is Reason.TOKEN_REQUIRED
    assert "does not exist" in str(error)


def test_an_unknown_revision_is_not_found(fetcher: Fetcher) -> None:
    error = refusal(fetcher, revision="v2")
    assert error.reason is Reason.NOT_FOUND
    assert "'v2'" in str(error)


def test_too_small_a_volume_is_told_before_any_transfer(fetcher: Fetcher) -> None:
    fetcher.free = lambda _: 1_000_000
    error = refusal(fetcher)
    assert error.reason is Reason.NO_SPACE
    assert "needs 3.0 MB" in str(error)
    assert "has 1.0 MB free" in str(error)
    assert fetcher.transfers() == []


def test_abandoned_partial_files_give_way_when_space_is_short(fetcher: Fetcher) -> None:
    volume = fetcher.volume()
    abandoned = volume.root / ".partial" / ("0" * 64)
    abandoned.parent.mkdir(parents=True)
    abandoned.write_bytes(b"x")
    fetcher.free = lambda _: 10 * WEIGHTS_SIZE if not abandoned.exists() else 0
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY


def test_a_cut_transfer_goes_on_where_it_broke_off(fetcher: Fetcher, model: Path) -> None:
    fetcher.mirror.set_faults(REPOSITORY, Faults(cut_after_bytes=1_200_000, cut_below_offset=2_000_000))
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY
    ranges = [wanted for wanted, _ in fetcher.transfers()]
    assert ranges[0] is None
    offsets = [int(str(wanted).removeprefix("bytes=").removesuffix("-")) for wanted in ranges[1:]]
    assert offsets == sorted(offsets)
    assert all(offset > 0 for offset in offsets)
    assert fetcher.file().read_bytes() == (model / WEIGHTS).read_bytes()


def test_a_source_that_keeps_breaking_off_is_given_up_but_what_arrived_is_kept(fetcher: Fetcher) -> None:
    fetcher.delays = ()
    fetcher.mirror.set_faults(REPOSITORY, Faults(cut_after_bytes=1_000_000))
    error = refusal(fetcher)
    assert error.reason is Reason.FETCH_FAILED
    fetcher.mirror.set_faults(REPOSITORY, Faults())
    fetcher.fetch()
    wanted, sent = fetcher.transfers()[-1]
    assert wanted is not None
    assert sent < WEIGHTS_SIZE


def test_bytes_that_arrive_start_the_series_of_delays_anew(fetcher: Fetcher) -> None:
    fetcher.mirror.set_faults(REPOSITORY, Faults(cut_after_bytes=600_000))
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY
    assert set(fetcher.pauses) == {1.0}
    assert len(fetcher.pauses) > len(fetcher.delays)


def test_a_byte_flipped_on_the_way_is_fetched_again(fetcher: Fetcher, model: Path) -> None:
    fetcher.mirror.set_faults(REPOSITORY, Faults(corrupt_at=1_500_000, corrupt_transfers=1))
    assert fetcher.fetch().reason is Reason.WEIGHTS_READY
    assert len(fetcher.transfers()) == 2
    assert fetcher.file().read_bytes() == (model / WEIGHTS).read_bytes()


def test_a_byte_wrong_at_the_source_is_corrupt_and_never_in_place(fetcher: Fetcher) -> None:
    fetcher.mirror.set_faults(REPOSITORY, Faults(corrupt_at=1_500_000))
    error = refusal(fetcher)
    assert error.reason is Reason.CORRUPT
    assert WEIGHTS in str(error)
    assert len(fetcher.transfers()) == 2
    assert not list(fetcher.target.rglob(WEIGHTS))
    assert not list(fetcher.target.rglob(".partial/*"))
    assert not list(fetcher.target.rglob("manifest.json"))


def test_a_file_damaged_before_the_manifest_was_written_is_fetched_again(
    fetcher: Fetcher, model: Path
) -> None:
    commit = fetcher.fetch().revision
    folder = fetcher.volume().folder(str(commit))
    (folder / "manifest.json").unlink()
    (folder / WEIGHTS).write_bytes(b"\0" * WEIGHTS_SIZE)
    fetcher.fetch()
    assert (folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()


def test_a_file_cut_short_on_the_volume_is_noticed(fetcher: Fetcher, model: Path) -> None:
    fetcher.fetch()
    fetcher.file().write_bytes(b"short")
    fetcher.fetch()
    assert fetcher.file().read_bytes() == (model / WEIGHTS).read_bytes()


def test_everything_that_is_written_lies_below_the_repository_folder(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    fetcher.fetch()
    assert list(home.rglob("*")) == []
    assert [path.name for path in fetcher.target.iterdir()] == ["acme--tiny"]


def test_progress_counts_to_the_total_and_is_on_the_volume(fetcher: Fetcher) -> None:
    fetcher.fetch()
    said = [json.loads(line) for line in fetcher.lines]
    assert said[0]["reason"] == "Fetching"
    assert said[0]["bytes_total"] == WEIGHTS_SIZE + 29 + 18
    assert json.loads(fetcher.volume().progress_file.read_text())["bytes_total"] == WEIGHTS_SIZE + 29 + 18


def test_descriptions_that_a_family_does_not_have_are_not_missed(fetcher: Fetcher) -> None:
    outcome = fetcher.fetch(patterns=(*PATTERNS, "tokenizer.model"))
    assert outcome.reason is Reason.WEIGHTS_READY
