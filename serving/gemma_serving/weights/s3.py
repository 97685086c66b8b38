"""Amazon S3, and stores that speak its protocol, through AWS's own client.

Objects are read under the entity tag that was listed, so that a replaced one is an error and never a mixture.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    PartialCredentialsError,
    SSLError,
)
from botocore.session import Session

from gemma_serving.weights.bucket import MOST_OBJECTS, Prefix, StoredObject, changed, listing_of, too_many
from gemma_serving.weights.checksums import Algorithm, Checksum
from gemma_serving.weights.outcome import Reason, SourceUnavailableError, WeightsError
from gemma_serving.weights.source import Body, Listing, SourceFile

DEFAULT_REGION = "us-east-1"
"""Where AWS's client asks first; it follows the answer of a bucket that lies elsewhere."""
TIMEOUT_SECONDS = 30.0
"""Of connecting, and between two chunks of a body."""
CHUNK_BYTES = 256 * 1024
"""At most so much of what has arrived is lost when a transfer is cut."""
PARTIAL_CONTENT = 206
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, PRECONDITION_FAILED = 401, 403, 404, 412
MD5_DIGITS = 32
_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_RETRIED_CODES = frozenset({"RequestTimeout", "SlowDown"})
_UNKNOWN_KEYS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
)
_CHECKSUMS = (
    ("ChecksumSHA256", Algorithm.SHA256),
    ("ChecksumCRC64NVME", Algorithm.CRC64NVME),
    ("ChecksumCRC32C", Algorithm.CRC32C),
    ("ChecksumCRC32", Algorithm.CRC32),
)
"""Field of an object's description and what is in it, the stronger one first."""
_ASSUME_ROLE, _DESCRIBE = "AssumeRoleWithWebIdentity", "HeadObject"
_TRUST = "give the CA bundle that vouches for it in SSL_CERT_FILE"


class S3Source:
    """A prefix of a bucket. Credentials are those that AWS's client finds in the environment."""

    def __init__(self, uri: str, endpoint: str | None) -> None:
        self._prefix = Prefix.of(uri)
        self._endpoint = endpoint
        self._session = Session()

    @property
    def repository(self) -> str:
        """The URI."""
        return self._prefix.uri

    def list(self, revision: str) -> Listing:
        """List the objects; whatever the revision is called, it is what lies there now."""
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._prefix.bucket, Prefix=self._prefix.begins
            )
            objects = (each for page in pages for each in page.get("Contents", ()))
            found = list(islice(objects, MOST_OBJECTS + 1))
            if len(found) > MOST_OBJECTS:
                raise too_many(self._prefix)
            data = [each for each in found if self._prefix.holds_data(each["Key"])]
            return listing_of(self._prefix, [self._described(each) for each in data])

    def check_access(self, commit: str, file: SourceFile) -> None:
        """Fail as reading the file would, by reading its first byte: what encrypts it may refuse that."""
        if file.size:
            with self._opened(file, Range="bytes=0-0") as answer:
                answer["Body"].read()

    @contextmanager
    def read(self, commit: str, file: SourceFile, offset: int) -> Iterator[Body]:
        """Bytes of a file from an offset on."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        with self._opened(file, **wanted) as answer:
            start = offset if _status(answer) == PARTIAL_CONTENT else 0
            yield Body(start, answer["Body"].iter_chunks(CHUNK_BYTES))

    @contextmanager
    def _opened(self, file: SourceFile, **wanted: str) -> Iterator[Mapping[str, Any]]:
        with self._translated(file):
            answer = self._client.get_object(
                Bucket=self._prefix.bucket, Key=self._prefix.key(file), IfMatch=file.pin, **wanted
            )
            with closing(answer["Body"]):
                yield answer

    def _described(self, listed: Mapping[str, Any]) -> StoredObject:
        about = self._client.head_object(
            Bucket=self._prefix.bucket, Key=listed["Key"], IfMatch=listed["ETag"], ChecksumMode="ENABLED"
        )
        return StoredObject(listed["Key"], about["ContentLength"], listed["ETag"], checksum_of(about))

    @cached_property
    def _client(self) -> Any:
        options: dict[str, Any] = {
            "connect_timeout": TIMEOUT_SECONDS,
            "read_timeout": TIMEOUT_SECONDS,
            # Tries are counted, told of and resumed by the transfer.
            "retries": {"total_max_attempts": 1},
            "response_checksum_validation": "when_required",
        }
        if self._is_anonymous:
            options["signature_version"] = UNSIGNED
        if self._endpoint is not None:
            options["s3"] = {"addressing_style": "path"}
        region = self._session.get_config_variable("region") or DEFAULT_REGION
        return self._session.create_client(
            "s3", region_name=region, endpoint_url=self._endpoint, config=Config(**options)
        )

    @property
    def _is_anonymous(self) -> bool:
        return self._session.get_credentials() is None

    @property
    def _store(self) -> str:
        return self._endpoint or "Amazon S3"

    @contextmanager
    def _translated(self, file: SourceFile | None = None) -> Iterator[None]:
        """The client's errors in our words."""
        try:
            yield
        except ClientError as error:
            raise self._refusal(error, file) from error
        except PartialCredentialsError as error:
            message = "the Secret has only one of accessKeyId and secretAccessKey: it needs both"
            raise WeightsError(Reason.ACCESS_DENIED, message) from error
        except SSLError as error:
            message = f"the certificate of {self._store} is not trusted: {_TRUST}"
            raise WeightsError(Reason.FETCH_FAILED, message) from error
        except CredentialRetrievalError as error:
            raise SourceUnavailableError("the pod's identity: its credentials were not given out") from error
        except BotoCoreError as error:
            raise SourceUnavailableError(f"{self._store}: {type(error).__name__}") from error

    def _refusal(self, error: ClientError, file: SourceFile | None) -> Exception:
        status, code = _status(error.response), str(error.response.get("Error", {}).get("Code", ""))
        is_gone = status in (NOT_FOUND, PRECONDITION_FAILED)
        if status in _RETRIED_STATUSES or code in _RETRIED_CODES:
            return SourceUnavailableError(f"{self._store} answered {status} {code}".rstrip())
        if is_gone and error.operation_name == _DESCRIBE:
            return SourceUnavailableError(f"{self._prefix.uri} changed while it was listed")
        if is_gone and file is not None:
            return changed(self._prefix, file)
        reason, message = self._explanation(status, code, error.operation_name)
        return WeightsError(reason, message)

    def _explanation(self, status: int, code: str, operation: str) -> tuple[Reason, str]:
        """Reason and sentence for an answer that another try would not change."""
        if status == NOT_FOUND:
            return Reason.NOT_FOUND, f"{self._store} has no bucket {self._prefix.bucket}: check its name"
        if operation == _ASSUME_ROLE:
            message = "the role of this pod's ServiceAccount may not be assumed by it: check its trust policy"
            return Reason.ACCESS_DENIED, f"{message} ({code})"
        if code in _UNKNOWN_KEYS:
            message = f"{self._store} does not take the credentials given ({code}): renew the Secret"
            return Reason.ACCESS_DENIED, message
        if status in (UNAUTHORIZED, FORBIDDEN):
            return self._denied()
        return Reason.FETCH_FAILED, f"{self._store} answered {status} {code} for {self._prefix.uri}"

    def _denied(self) -> tuple[Reason, str]:
        uri, needed = self._prefix.uri, f"s3:ListBucket and s3:GetObject on {self._prefix.bucket}"
        if self._is_anonymous:
            return (
                Reason.TOKEN_REQUIRED,
                f"{uri} is not public and no credentials are given: name a Secret with accessKeyId and "
                "secretAccessKey in spec.model.source.s3.credentialsSecretRef, or give the ServiceAccount of "
                f"this pod a role (IRSA, EKS Pod Identity), with {needed}",
            )
        return Reason.ACCESS_DENIED, f"the credentials given may not read {uri}: they need {needed}"


def checksum_of(about: Mapping[str, Any]) -> Checksum | None:
    """What the store says of an object's whole content; None where it says nothing of use.

    Checksums of objects that came in parts may be over those of the parts, and an entity tag is an MD5 only
    of what came in one and is not encrypted with a key of its owner (S3 User Guide, "Checking object
    integrity").
    """
    if about.get("ChecksumType") != "COMPOSITE":
        for field, algorithm in _CHECKSUMS:
            if "-" not in (value := about.get(field) or "-"):
                return Checksum(algorithm, b64decode(value).hex())
    tag = str(about.get("ETag", "")).strip('"').lower()
    is_own_key = "SSECustomerAlgorithm" in about or str(about.get("ServerSideEncryption", "")).startswith(
        "aws:kms"
    )
    if len(tag) == MD5_DIGITS and not set(tag) - set("0123456789abcdef") and not is_own_key:
        return Checksum(Algorithm.MD5, tag)
    return None


def _status(answer: Mapping[str, Any]) -> int:
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
