"""Google Cloud Storage through its JSON API: three requests, for which Google's client would be 28 MB.

Objects are read under the generation that was listed, so that a replaced one is an error and never a mixture.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from gemma_serving.weights.bucket import MOST_OBJECTS, Prefix, StoredObject, changed, listing_of, too_many
from gemma_serving.weights.checksums import Algorithm, Checksum
from gemma_serving.weights.google_identity import GoogleIdentity
from gemma_serving.weights.outcome import Reason, SourceUnavailableError, WeightsError
from gemma_serving.weights.source import Body, Listing, SourceFile

ENDPOINT = "https://storage.googleapis.com"
TIMEOUT_SECONDS = 30.0
"""Of connecting, and between two chunks of a body."""
CHUNK_BYTES = 256 * 1024
"""At most so much of what has arrived is lost when a transfer is cut."""
PARTIAL_CONTENT = 206
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, PRECONDITION_FAILED = 401, 403, 404, 412
_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_FIELDS = "nextPageToken,items(name,size,generation,md5Hash,crc32c,contentEncoding)"
_CHECKSUMS = (("md5Hash", Algorithm.MD5), ("crc32c", Algorithm.CRC32C))
"""Field of an object and what is in it, the stronger one first; composed objects have no MD5."""
_SHOWN_CHARACTERS = 300
_TRUST = "give the CA bundle that vouches for it in SSL_CERT_FILE"


class GcsSource:
    """A prefix of a bucket."""

    def __init__(self, uri: str, endpoint: str | None, identity: GoogleIdentity) -> None:
        self._prefix = Prefix.of(uri)
        self._bucket = f"{(endpoint or ENDPOINT).rstrip('/')}/storage/v1/b/{quote(self._prefix.bucket)}/o"
        self._identity = identity
        self._client = httpx2.Client(timeout=TIMEOUT_SECONDS)

    @property
    def repository(self) -> str:
        """The URI."""
        return self._prefix.uri

    def list(self, revision: str) -> Listing:
        """List the objects; whatever the revision is called, it is what lies there now."""
        with self._translated():
            response = self._client.get(
                self._bucket,
                params={"prefix": self._prefix.begins, "maxResults": MOST_OBJECTS, "fields": _FIELDS},
                headers=self._headers(),
            )
            self._check(response)
            page = response.json()
        if page.get("nextPageToken"):
            raise too_many(self._prefix)
        items = [item for item in page.get("items", ()) if self._prefix.holds_data(item["name"])]
        return listing_of(self._prefix, [self._stored(item) for item in items])

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Fail as reading the file would, by reading its first byte."""
        if file.size:
            with self._opened(file, "bytes=0-0") as response:
                response.read()

    @contextmanager
    def read(self, commit: str, file: SourceFile, offset: int) -> Iterator[Body]:
        """Bytes of a file from an offset on."""
        with self._opened(file, f"bytes={offset}-" if offset else None) as response:
            start = offset if response.status_code == PARTIAL_CONTENT else 0
            yield Body(start, response.iter_raw(CHUNK_BYTES))

    @contextmanager
    def _opened(self, file: SourceFile, wanted: str | None) -> Iterator[httpx2.Response]:
        url = f"{self._bucket}/{quote(self._prefix.key(file), safe='')}"
        headers = self._headers() | ({"Range": wanted} if wanted else {})
        request = {"params": {"alt": "media", "ifGenerationMatch": str(file.pin)}, "headers": headers}
        with self._translated(), self._client.stream("GET", url, **request) as response:  # type: ignore[arg-type]
            if response.status_code in (NOT_FOUND, PRECONDITION_FAILED):
                raise changed(self._prefix, file)
            self._check(response)
            yield response

    def _headers(self) -> dict[str, str]:
        token = self._identity.token()
        return {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def _stored(self, item: Mapping[str, Any]) -> StoredObject:
        if item.get("contentEncoding"):
            raise WeightsError(
                Reason.FETCH_FAILED,
                f"{item['name']} of {self._prefix.uri} is stored with content encoding "
                f"{item['contentEncoding']}, and weights are used as they are stored: upload it uncompressed",
            )
        found = next(((kind, item[field]) for field, kind in _CHECKSUMS if item.get(field)), None)
        checksum = Checksum(found[0], b64decode(found[1]).hex()) if found else None
        return StoredObject(item["name"], int(item["size"]), str(item["generation"]), checksum)

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if not response.is_error:
            return
        if status in _RETRIED_STATUSES:
            raise SourceUnavailableError(f"Cloud Storage answered {status}")
        response.read()
        uri, bucket = self._prefix.uri, self._prefix.bucket
        grant = f"grant roles/storage.objectViewer on gs://{bucket} to the ServiceAccount of this pod"
        if status in (UNAUTHORIZED, FORBIDDEN) and self._identity.lack is not None:
            raise WeightsError(
                Reason.TOKEN_REQUIRED,
                f"{uri} is not public, and this pod has no Google identity ({self._identity.lack}): "
                f"use Workload Identity and {grant}",
            )
        if status in (UNAUTHORIZED, FORBIDDEN):
            raise WeightsError(Reason.ACCESS_DENIED, f"{_said(response)}: {grant}")
        if status == NOT_FOUND:
            raise WeightsError(Reason.NOT_FOUND, f"there is no bucket gs://{bucket}: check its name")
        raise WeightsError(Reason.FETCH_FAILED, f"Cloud Storage answered {status} for {uri}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = f"the certificate of Cloud Storage is not trusted: {_TRUST}"
                raise WeightsError(Reason.FETCH_FAILED, message) from error
            cause = f"{type(error).__name__} {error}".rstrip()
            raise SourceUnavailableError(f"Cloud Storage: {cause}") from error


def _said(response: httpx2.Response) -> str:
    """Google's own sentence: it names the principal that was refused, and no secret."""
    try:
        sentence = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        sentence = response.text
    return sentence[:_SHOWN_CHARACTERS].rstrip(". ") or f"Cloud Storage answered {response.status_code}"
