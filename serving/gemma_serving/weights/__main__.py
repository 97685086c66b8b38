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

from gemma_serving.contract import BUCKET_REVISION, bucket_folder, repository_folder
from gemma_serving.weights.fetch import Request, fetch
from gemma_serving.weights.outcome import Outcome, Reason, WeightsError
from gemma_serving.weights.progress import Progress
from gemma_serving.weights.source import Source
from gemma_serving.weights.transfer import Retry
from gemma_serving.weights.verify import wait_until_verified
from gemma_serving.weights.volume import Volume

RETRY_DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Half a minute of a hub that does not answer; after that the kubelet's own back-off goes on."""
DEFAULT_WAIT_SECONDS = 600.0
HUB, DEFAULT_REVISION = "https://huggingface.co", "main"
AWS_REGION = "us-east-1"
"""Where roles are asked for outside of EKS."""
EXIT_FAILED = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_URI = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]+[a-z0-9](/\S*)?")
_REVISION = re.compile(r"(?!/)[\w./-]+(?<!/)")


def main(arguments: Sequence[str]) -> int:
    """Fetch or verify; the exit code is 0 only if everything is present and verified."""
    options = _options(arguments)
    volume = _volume(options)
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
    source = _source(options, volume)
    return fetch(request, source, volume, progress, Retry(RETRY_DELAYS_SECONDS, time.sleep))


def _volume(options: argparse.Namespace) -> Volume:
    if options.uri is None:
        server = options.endpoint if options.server_folder else None
        return Volume(
            options.target, options.repository, folder=repository_folder(options.repository, server)
        )
    return Volume(options.target, options.uri, folder=bucket_folder(options.uri, options.endpoint))


def _source(options: argparse.Namespace, volume: Volume) -> Source:
    """Imports only the client that is used, after its environment is set, which some read at that time."""
    if options.uri is None:
        _keep_client_on_volume(volume)
        from gemma_serving.weights.huggingface import HuggingFaceSource  # noqa: PLC0415

        endpoint = options.endpoint or HUB
        return HuggingFaceSource(options.repository, endpoint, os.environ.get("HF_TOKEN") or None)
    if options.uri.startswith("gs://"):
        from gemma_serving.weights.gcs import GcsSource  # noqa: PLC0415
        from gemma_serving.weights.google_identity import identity_of_this_pod  # noqa: PLC0415

        return GcsSource(options.uri, options.endpoint, identity_of_this_pod())
    _take_only_what_the_pod_was_given()
    from gemma_serving.weights.s3 import S3Source  # noqa: PLC0415

    return S3Source(options.uri, options.endpoint)


def _take_only_what_the_pod_was_given() -> None:
    """Neither the identity of the node, nor keys that happen to lie in a home folder."""
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    # EKS tells pods their region by either name; AWS's client for Python reads only this one.
    os.environ.setdefault("AWS_DEFAULT_REGION", os.environ.get("AWS_REGION") or AWS_REGION)
    if bundle := os.environ.get("SSL_CERT_FILE"):
        os.environ["AWS_CA_BUNDLE"] = bundle


def _keep_client_on_volume(volume: Volume) -> None:
    """Whatever the client may write belongs on the volume: the node's disk was not asked for it."""
    os.environ["HF_HOME"] = str(volume.root / ".client")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["HF_HUB_DISABLE_XET"] = "1"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.uri is not None and options.revision is not None:
        parser.error("--revision is of a --repository: a bucket has only what lies there now")
    options.revision = options.revision or (DEFAULT_REVISION if options.uri is None else BUCKET_REVISION)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gemma_serving.weights",
        description="Fetch a model's weights onto a volume. Secrets are read from the environment: HF_TOKEN, "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; pods may have an identity in place of them.",
    )
    parser.add_argument("mode", nargs="?", choices=["fetch", "verify"], default="fetch")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--repository", type=_matching(_REPOSITORY, "owner/name"))
    source.add_argument("--uri", type=_matching(_URI, "gs://bucket/folder or s3://bucket/folder"))
    parser.add_argument(
        "--revision",
        type=_matching(_REVISION, "a branch, tag or commit"),
        help=f"default: {DEFAULT_REVISION}",
    )
    parser.add_argument("--endpoint", help=f"hub, mirror or store (default: {HUB}, or the cloud's own)")
    parser.add_argument(
        "--server-folder",
        action="store_true",
        help="keep this endpoint's repository apart from others of the same name",
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
