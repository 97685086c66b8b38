"""`python -m gemma_serving.weights [fetch|verify]`: arguments, signals and the final word."""

import argparse
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from gemma_serving.weights.fetch import Request, fetch
from gemma_serving.weights.outcome import Outcome, Reason, WeightsError
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.transfer import Retry
from gemma_serving.weights.verify import wait_until_verified
from gemma_serving.weights.volume import Volume

RETRY_DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Half a minute of a hub that does not answer; after that the kubelet's own back-off goes on."""
DEFAULT_WAIT_SECONDS = 600.0
EXIT_FAILED = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"(?!/)[\w./-]+(?<!/)")


def main(arguments: Sequence[str]) -> int:
    """Fetch or verify; the exit code is 0 only if everything is present and verified."""
    options = _parser().parse_args(arguments)
    volume = Volume(options.target, options.repository)
    progress = Progress(volume.progress_file)
    # The first process of a container ignores SIGTERM unless it says otherwise.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = EXIT_FAILED
    try:
        outcome = _run(options, volume, progress)
        code = 0
    except WeightsError as error:
        outcome = progress.outcome(error.reason, str(error))
    except KeyboardInterrupt:
        outcome = progress.outcome(
            Reason.FETCHING, "stopped; what has arrived is kept, the next start goes on"
        )
        code = EXIT_TERMINATED
    except Exception as error:
        traceback.print_exc()
        outcome = progress.outcome(Reason.FETCH_FAILED, f"{type(error).__name__}: {error}")
    print(outcome.to_json(), flush=True)
    _write_termination_message(options.termination_log, outcome)
    return code


def _run(options: argparse.Namespace, volume: Volume, progress: Progress) -> Outcome:
    request = Request(options.revision, tuple(options.file))
    if options.mode == "verify":
        until = time.monotonic() + options.wait_seconds
        return wait_until_verified(request, volume, lambda: until - time.monotonic(), time.sleep)
    _keep_client_on_volume(volume)
    # After the environment is set: the client reads it when it is imported. `verify` does without it.
    from gemma_serving.weights.huggingface import HuggingFaceSource  # noqa: PLC0415

    source = HuggingFaceSource(options.repository, options.endpoint, os.environ.get("HF_TOKEN") or None)
    return fetch(request, source, volume, progress, Retry(RETRY_DELAYS_SECONDS, time.sleep))


def _keep_client_on_volume(volume: Volume) -> None:
    """Whatever the client may write belongs on the volume: the node's disk was not asked for it."""
    os.environ["HF_HOME"] = str(volume.root / ".client")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["HF_HUB_DISABLE_XET"] = "1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gemma_serving.weights",
        description="Fetch a model's weights onto a volume. The token, if any, is read from HF_TOKEN.",
    )
    parser.add_argument("mode", nargs="?", choices=["fetch", "verify"], default="fetch")
    parser.add_argument("--repository", required=True, type=_matching(_REPOSITORY, "owner/name"))
    parser.add_argument("--revision", default="main", type=_matching(_REVISION, "a branch, tag or commit"))
    parser.add_argument(
        "--endpoint", default="https://huggingface.co", help="hub or mirror (default: %(default)s)"
    )
    parser.add_argument("--file", action="append", required=True, metavar="PATTERN", help="glob; repeatable")
    parser.add_argument("--target", type=Path, required=True, help="folder on the volume")
    parser.add_argument("--termination-log", type=Path, default=Path("/dev/termination-log"))
    parser.add_argument(
        "--wait-seconds",
        type=float,
        default=DEFAULT_WAIT_SECONDS,
        help="verify: how long to wait for a fetch by somebody else (default: %(default)s)",
    )
    return parser


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text) or ".." in text:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return text

    return check


def _write_termination_message(path: Path, outcome: Outcome) -> None:
    """Leave the final word where the kubelet reads it; outside of a pod there is no such file."""
    try:
        path.write_text(outcome.to_json())
    except OSError as error:
        print(f"no termination message: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
