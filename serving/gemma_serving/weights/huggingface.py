"""The Hugging Face hub, or any mirror that speaks its protocol, through the hub's own client.

The client's own download keeps no partial file (huggingface_hub 2.4 deletes it when a transfer or the process
ends), and its Xet transfer neither resumes nor passes a mirror; so files are streamed from the documented
`resolve` URL with a Range header, with the client's session, headers and errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

# Documented, but exported lazily, which mypy cannot see.
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from gemma_serving.weights.checksums import Algorithm, Checksum
from gemma_serving.weights.outcome import Reason, SourceUnavailableError, WeightsError
from gemma_serving.weights.source import Body, Listing, SourceFile

TIMEOUT_SECONDS = 30.0
"""Of connecting, and between two chunks of a body."""
CHUNK_BYTES = 256 * 1024
"""At most so much of what has arrived is lost when a transfer is cut."""
PARTIAL_CONTENT = 206
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_GIVE_TOKEN = (
    "accept its licence at {endpoint}/{repository}, put a token of that account into a Secret, and name it "
    "in spec.model.source.huggingFace.tokenSecretRef"
)
_GATED = (Reason.TOKEN_REQUIRED, "{repository} is gated and no token is given: " + _GIVE_TOKEN)
_HIDDEN = (
    Reason.TOKEN_REQUIRED,
    "{repository} is private, gated or does not exist (the hub tells only who is signed in), and no token is "
    "given: check the name; if it is right, " + _GIVE_TOKEN,
)
_NO_REVISION = (Reason.NOT_FOUND, "{repository} has no revision {revision!r}; see {endpoint}/{repository}")
_FILE_GONE = (Reason.NOT_FOUND, "a listed file of {repository} is gone; see {endpoint}/{repository}")
_BY_STATUS = {
    UNAUTHORIZED: (Reason.ACCESS_DENIED, "{endpoint} does not know the token given: renew the Secret"),
    FORBIDDEN: (
        Reason.ACCESS_DENIED,
        "the token's account has not accepted the licence of {repository}, or the token may not read it: "
        "accept it at {endpoint}/{repository}, or use another token",
    ),
    NOT_FOUND: (Reason.NOT_FOUND, "{endpoint} has no repository {repository}, or shows it to others only"),
}
_TRUST = "give the CA bundle that vouches for it in SSL_CERT_FILE"
_OTHER = (Reason.FETCH_FAILED, "{endpoint} answered {status} for {repository}")


class HuggingFaceSource:
    """One repository of a hub."""

    def __init__(self, repository: str, endpoint: str, token: str | None) -> None:
        self._repository = repository
        self._endpoint = endpoint.rstrip("/")
        # False: never a token that happens to lie in the home folder.
        self._token: str | bool = token or False
        self._api = HfApi(endpoint=self._endpoint, token=self._token)

    @property
    def repository(self) -> str:
        """`owner/name`."""
        return self._repository

    def list(self, revision: str) -> Listing:
        """Resolve a branch, tag or commit and list its files."""
        with self._translated(revision):
            info = self._api.model_info(
                self._repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
            )
        if info.sha is None or info.siblings is None:
            raise WeightsError(
                Reason.FETCH_FAILED,
                f"{self._shown_endpoint} answered without commit or files for {self._repository}: "
                "it does not speak the Hugging Face protocol; check the endpoint",
            )
        return Listing(info.sha, tuple(_source_file(sibling) for sibling in info.siblings))

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Fail as reading the file would, without reading it."""
        with self._translated(commit):
            get_hf_file_metadata(
                self._url(commit, file), token=self._token, timeout=TIMEOUT_SECONDS, endpoint=self._endpoint
            )

    @contextmanager
    def read(self, commit: str, file: SourceFile, offset: int) -> Iterator[Body]:
        """Bytes of a file from an offset on, or from 0 where the server does not resume."""
        headers = {**build_hf_headers(token=self._token), "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = {"headers": headers, "timeout": TIMEOUT_SECONDS}
        with (
            self._translated(commit),
            get_session().stream("GET", self._url(commit, file), **request) as response,  # type: ignore[arg-type]
        ):
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            start = offset if response.status_code == PARTIAL_CONTENT else 0
            yield Body(start, response.iter_bytes(CHUNK_BYTES))

    def _url(self, commit: str, file: SourceFile) -> str:
        return hf_hub_url(self._repository, file.name, revision=commit, endpoint=self._endpoint)

    @contextmanager
    def _translated(self, revision: str) -> Iterator[None]:
        """The client's errors in our words; its own may repeat a URL with a secret in it."""
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error, revision) from error
        except HFValidationError as error:
            raise WeightsError(
                Reason.NOT_FOUND, f"{self._repository!r} is no repository name: {error}"
            ) from error
        except FileMetadataError as error:
            message = f"{self._shown_endpoint} does not speak the Hugging Face protocol; check the endpoint"
            raise WeightsError(Reason.FETCH_FAILED, message) from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            message = f"{self._shown_endpoint!r} is no http(s) URL; check the endpoint"
            raise WeightsError(Reason.FETCH_FAILED, message) from error
        except httpx2.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = f"the certificate of {self._shown_endpoint} is not trusted: {_TRUST}"
                raise WeightsError(Reason.FETCH_FAILED, message) from error
            cause = f"{type(error).__name__} {error}".rstrip()
            raise SourceUnavailableError(f"{self._shown_endpoint}: {cause}") from error

    def _refusal(self, error: HfHubHTTPError, revision: str) -> Exception:
        status = error.response.status_code
        if status in _RETRIED_STATUSES:
            return SourceUnavailableError(f"{self._shown_endpoint} answered {status}")
        reason, sentence = _explanation(error, has_token=bool(self._token))
        names = {"repository": self._repository, "revision": revision, "endpoint": self._shown_endpoint}
        return WeightsError(reason, sentence.format(**names, status=status))

    @property
    def _shown_endpoint(self) -> str:
        """The endpoint without a user name or password."""
        parts = urlsplit(self._endpoint)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _source_file(sibling: RepoSibling) -> SourceFile:
    name = sibling.rfilename
    size = sibling.size or 0
    if sibling.lfs is not None:
        return SourceFile(name, size, Checksum(Algorithm.SHA256, sibling.lfs.sha256))
    return SourceFile(name, size, Checksum(Algorithm.GIT_SHA1, sibling.blob_id or ""))


def _explanation(error: HfHubHTTPError, *, has_token: bool) -> tuple[Reason, str]:
    """Reason and sentence (a format string) for an answer that another try would not change."""
    status = error.response.status_code
    if isinstance(error, RevisionNotFoundError):
        return _NO_REVISION
    if isinstance(error, RemoteEntryNotFoundError):
        return _FILE_GONE
    if status == UNAUTHORIZED and not has_token:
        return _GATED if isinstance(error, GatedRepoError) else _HIDDEN
    return _BY_STATUS.get(status, _OTHER)
