"""For pods that share a cache: wait until somebody else has fetched and verified."""

import json
from collections.abc import Callable

from gemma_serving.weights.fetch import Request
from gemma_serving.weights.outcome import Outcome, Reason, WeightsError, human_bytes
from gemma_serving.weights.volume import Volume

POLL_SECONDS = 1.0


def wait_until_verified(
    request: Request, volume: Volume, seconds_left: Callable[[], float], pause: Callable[[float], None]
) -> Outcome:
    """Return when the manifest answers the request.

    Args:
        request: what is wanted.
        volume: where it should be.
        seconds_left: until the caller gives up; asked before each pause.
        pause: waits that many seconds.

    Raises:
        WeightsError: time is up; says how far the fetch was.
    """
    while True:
        commit = volume.linked_commit(request.revision) or request.revision
        manifest = volume.holds(commit, request.patterns)
        if manifest is not None:
            message = f"{human_bytes(manifest.size)} verified on the volume"
            return Outcome(Reason.WEIGHTS_READY, message, commit, manifest.size, manifest.size)
        if seconds_left() <= 0:
            raise WeightsError(Reason.WEIGHTS_PENDING, _how_far(request, volume))
        pause(min(POLL_SECONDS, seconds_left()))


def _how_far(request: Request, volume: Volume) -> str:
    wanted = f"{volume.repository}@{request.revision} is not verified in {volume.root}"
    try:
        said = json.loads(volume.progress_file.read_text())["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{wanted}, and nothing has been fetched there yet: see the weights Job"
    return f"{wanted} yet; the weights Job last said: {said}"
