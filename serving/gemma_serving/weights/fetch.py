"""From a request to verified files: resolve, see what is there, may be read and fits, then transfer."""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma_serving.weights.outcome import Outcome, Reason, SourceUnavailableError, WeightsError, human_bytes
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.selection import select
from gemma_serving.weights.source import Listing, Source, SourceFile
from gemma_serving.weights.transfer import Retry, Transfer
from gemma_serving.weights.volume import Manifest, Volume

LOCK_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted.

    Attributes:
        revision: branch, tag or commit; of a bucket, a name for what lies there now.
        patterns: globs over file names.
    """

    revision: str
    patterns: tuple[str, ...]


def fetch(request: Request, source: Source, volume: Volume, progress: Progress, retry: Retry) -> Outcome:
    """Have every file that the patterns name verified on the volume.

    A commit that is there already is answered without the source; so is a branch while the source is down.

    Raises:
        WeightsError: it cannot be done; says what is needed, what there is, what to do.
    """
    present = volume.holds(request.revision, request.patterns)
    if present is not None:
        return _ready(present, "already on the volume")
    try:
        return _fetch_from_source(request, source, volume, progress, retry)
    except SourceUnavailableError as error:
        return _without_source(request, volume, error)


def _fetch_from_source(
    request: Request, source: Source, volume: Volume, progress: Progress, retry: Retry
) -> Outcome:
    listing = retry.run(lambda: source.list(request.revision), progress.note, lambda: 0)
    files = select(source.repository, listing.files, request.patterns)
    present = volume.holds(listing.commit, request.patterns)
    if present is None:
        largest = max(files, key=lambda file: file.size)
        retry.run(lambda: source.check_access(listing.commit, largest), progress.note, lambda: 0)
        present = _transfer(
            request, listing, files, Transfer(source, volume, progress, retry, listing.commit)
        )
        message = f"fetched and verified{_by_size_only(files)}"
    else:
        message = "already on the volume"
    volume.link(request.revision, listing.commit)
    return _ready(present, message)


def _transfer(
    request: Request, listing: Listing, files: Sequence[SourceFile], transfer: Transfer
) -> Manifest:
    volume, progress = transfer.volume, transfer.progress

    def wait() -> None:
        progress.note("another pod is fetching into this volume; waiting for it")
        transfer.retry.pause(LOCK_POLL_SECONDS)

    with volume.locked(wait):
        present = volume.holds(listing.commit, request.patterns)
        if present is not None:
            return present
        total = sum(file.size for file in files)
        done = sum(transfer.bytes_present(file) for file in files)
        progress.begin(listing.commit, done, total)
        _check_space(total - done, files, volume)
        stored = tuple(transfer.bring(file) for file in files)
        volume.write_manifest(Manifest(volume.repository, listing.commit, request.patterns, stored))
        manifest = volume.manifest(listing.commit)
        assert manifest is not None, "the manifest was just written"
        return manifest


def _check_space(needed: int, files: Sequence[SourceFile], volume: Volume) -> None:
    if needed > volume.free():
        volume.drop_partials_except(files)
    available = volume.free()
    if needed > available:
        raise WeightsError(
            Reason.NO_SPACE,
            f"{volume.repository} needs {human_bytes(needed)} more on the volume at {volume.target}, which "
            f"has {human_bytes(available)} free (short of {human_bytes(needed - available)}): "
            "make the volume larger, or use a smaller precision",
        )


def _by_size_only(files: Sequence[SourceFile]) -> str:
    count = sum(file.checksum is None for file in files)
    return f" ({count} of them by size only: the source gives no checksum)" if count else ""


def _without_source(request: Request, volume: Volume, error: SourceUnavailableError) -> Outcome:
    """The last resolved commit, if it is whole: a pod that restarts must not need the hub."""
    commit = volume.linked_commit(request.revision)
    present = volume.holds(commit, request.patterns) if commit else None
    if present is None:
        message = f"{error}; what has arrived is kept, the next try goes on"
        raise WeightsError(Reason.FETCH_FAILED, message) from error
    return _ready(present, f"already on the volume, as {request.revision} was last resolved ({error})")


def _ready(manifest: Manifest, what: str) -> Outcome:
    count = len(manifest.files)
    message = f"{count} file{'s' if count > 1 else ''}, {human_bytes(manifest.size)}: {what}"
    return Outcome(Reason.WEIGHTS_READY, message, manifest.commit, manifest.size, manifest.size)
