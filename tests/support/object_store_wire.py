"""One connection to the object store: the paths of its services, answered as they answer them."""

import hashlib
import hmac
import json
import re
import socket
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from support.object_store import (
    ACCESS_KEY,
    GOOGLE_TOKEN,
    PAGE_KEYS,
    POD_IDENTITY_PATH,
    SECRET_KEY,
    SERVICE_ACCOUNT_TOKEN,
    SESSION_TOKEN,
    Asked,
    Stored,
    StoreState,
)

_METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
_GOOGLE = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<key>[^/]+))?")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_SIGNATURE = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+), SignedHeaders=(\S+), Signature=(\w+)")
_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class StoreHandler(BaseHTTPRequestHandler):
    """Bound to a state by a subclass."""

    state: StoreState
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == _METADATA:
            self._metadata()
        elif path == POD_IDENTITY_PATH:
            self._pod_identity()
        elif match := _GOOGLE.fullmatch(path):
            self._google(unquote(match["bucket"]), unquote(match["key"] or ""))
        else:
            bucket, _, key = unquote(path).removeprefix("/").partition("/")
            self._s3(bucket, key)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def do_POST(self) -> None:
        """AWS's Security Token Service: a role for a token of a ServiceAccount."""
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        if form.get("WebIdentityToken") != [SERVICE_ACCOUNT_TOKEN]:
            error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error>"
            self._answer(403, f'<ErrorResponse xmlns="{_STS}">{error}</ErrorResponse>'.encode())
            return
        credentials = (
            f"<AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>"
            f"<SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        )
        result = f"<AssumeRoleWithWebIdentityResult><Credentials>{credentials}</Credentials>"
        body = (
            f'<AssumeRoleWithWebIdentityResponse xmlns="{_STS}">{result}</AssumeRoleWithWebIdentityResult>'
            "</AssumeRoleWithWebIdentityResponse>"
        )
        self._answer(200, body.encode(), {"Content-Type": "text/xml"})

    def _pod_identity(self) -> None:
        if self.headers.get("Authorization") != SERVICE_ACCOUNT_TOKEN:
            self._answer(401, b"{}")
            return
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": SESSION_TOKEN}
        self._json(200, {**keys, "Expiration": "2099-01-01T00:00:00Z"})

    # Google

    def _metadata(self) -> None:
        if self.headers.get("Metadata-Flavor") != "Google" or self.state.token_status != 200:
            self._answer(403 if self.state.token_status == 200 else self.state.token_status, b"no")
            return
        self.state.tokens_given += 1
        token = {"access_token": GOOGLE_TOKEN, "expires_in": 3599, "token_type": "Bearer"}
        self._json(200, token)

    def _google(self, bucket: str, key: str) -> None:
        faults, objects = self.state.faults, self.state.buckets.get(bucket)
        is_known = self.headers.get("Authorization") == f"Bearer {GOOGLE_TOKEN}"
        who = "loader@example.iam.gserviceaccount.com" if is_known else "Anonymous caller"
        if faults.status is not None:
            self._google_error(faults.status, "out of order on request")
        elif faults.forbids or (faults.keeps_out and not is_known):
            sentence = f"{who} does not have storage.objects.list access to the Google Cloud Storage bucket."
            self._google_error(403 if is_known else 401, sentence)
        elif objects is None:
            self._google_error(404, "The specified bucket does not exist.")
        elif not key:
            self._google_list(bucket)
        else:
            self.state.before_read(key)
            stored = objects.get(key)
            if stored is None:
                self._google_error(404, f"No such object: {bucket}/{key}")
            elif self._query.get("ifGenerationMatch") != str(stored.generation):
                self._google_error(412, "At least one of the pre-conditions you specified did not hold.")
            else:
                self._send(key, stored, {})

    def _google_list(self, bucket: str) -> None:
        page = self.state.listed(bucket, self._query.get("prefix", ""), self._query.get("pageToken", ""))
        items = [_google_item(key, stored) for key, stored in page[:PAGE_KEYS]]
        more = {"nextPageToken": page[PAGE_KEYS - 1][0]} if len(page) > PAGE_KEYS else {}
        self._json(200, {**({"items": items} if items else {}), **more})

    def _google_error(self, status: int, message: str) -> None:
        self._json(status, {"error": {"code": status, "message": message}})

    # S3

    def _s3(self, bucket: str, key: str) -> None:
        faults, objects = self.state.faults, self.state.buckets.get(bucket)
        refusal = self._s3_refusal()
        if faults.status is not None:
            self._s3_error(faults.status, "ServiceUnavailable")
        elif refusal:
            self._s3_error(403, refusal)
        elif objects is None:
            self._s3_error(404, "NoSuchBucket")
        elif not key:
            self._s3_list(bucket)
        else:
            if self.command == "GET":
                self.state.before_read(key)
            stored = objects.get(key)
            if stored is None:
                self._s3_error(404, "NoSuchKey")
            elif self.headers.get("If-Match", stored.etag) != stored.etag:
                self._s3_error(412, "PreconditionFailed")
            else:
                self._send(key, stored, self._s3_headers(stored))

    def _s3_refusal(self) -> str:
        """Code of the error; empty where the caller may go on."""
        given = self.headers.get("Authorization")
        if given is None:
            return "AccessDenied" if self.state.faults.keeps_out or self.state.faults.forbids else ""
        match = _SIGNATURE.fullmatch(given)
        if match is None or match[1] != ACCESS_KEY:
            return "InvalidAccessKeyId"
        if self.headers.get("x-amz-security-token", SESSION_TOKEN) != SESSION_TOKEN:
            return "InvalidToken"
        if not hmac.compare_digest(self._signature(match[2], match[3]), match[4]):
            return "SignatureDoesNotMatch"
        return "AccessDenied" if self.state.faults.forbids else ""

    def _signature(self, scope: str, signed: str) -> str:
        """Signature Version 4, as AWS's reference describes it for services to check."""
        parts = urlsplit(self.path)
        pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
        query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
        headers = "".join(f"{name}:{self.headers.get(name, '').strip()}\n" for name in signed.split(";"))
        payload = self.headers.get("x-amz-content-sha256", "")
        request = "\n".join([self.command, parts.path, query, headers, signed, payload])
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", self.headers.get("x-amz-date", ""), scope, digest])
        key = f"AWS4{SECRET_KEY}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key.hex()

    def _s3_list(self, bucket: str) -> None:
        query = self._query
        page = self.state.listed(bucket, query.get("prefix", ""), query.get("continuation-token", ""))
        contents = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-11-25T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.content)}</Size></Contents>"
            for key, stored in page[:PAGE_KEYS]
        )
        is_more = len(page) > PAGE_KEYS
        more = f"<NextContinuationToken>{page[PAGE_KEYS - 1][0]}</NextContinuationToken>" if is_more else ""
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{_NAMESPACE}">'
            f"<Name>{bucket}</Name><KeyCount>{len(page[:PAGE_KEYS])}</KeyCount><MaxKeys>{PAGE_KEYS}</MaxKeys>"
            f"<EncodingType>url</EncodingType><IsTruncated>{str(is_more).lower()}</IsTruncated>{more}"
            f"{contents}</ListBucketResult>"
        )
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})

    def _s3_headers(self, stored: Stored) -> dict[str, str]:
        headers = {"ETag": stored.etag, "Last-Modified": "Wed, 25 Nov 2026 00:00:00 GMT"}
        if stored.encryption:
            headers["x-amz-server-side-encryption"] = stored.encryption
        if stored.checksum and self.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers[f"x-amz-checksum-{stored.checksum}"] = stored.s3_checksum
            headers["x-amz-checksum-type"] = "COMPOSITE" if stored.composite else "FULL_OBJECT"
        return headers

    def _s3_error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        self._answer(status, body.encode(), {"Content-Type": "application/xml"})

    # Both

    def _send(self, key: str, stored: Stored, headers: dict[str, str]) -> None:
        size, wanted = len(stored.content), self.headers.get("Range")
        start, stop = 0, size
        if wanted is not None:
            match = _RANGE.fullmatch(wanted)
            assert match is not None, wanted
            start, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
            headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        self._start(206 if wanted is not None else 200, {**headers, "Content-Length": str(stop - start)})
        if self.command == "HEAD":
            return
        sent = self._send_bytes(stored, start, stop)
        with self.state.lock:
            self.state.asked.append(Asked(key, wanted, sent))

    def _send_bytes(self, stored: Stored, start: int, stop: int) -> int:
        sent, pace = 0, self.state.faults.bytes_per_second
        try:
            for piece in self.state.pieces(stored, start, stop):
                self.wfile.write(piece)
                sent += len(piece)
                if pace:
                    time.sleep(len(piece) / pace)
            if sent < stop - start:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        return sent

    def _json(self, status: int, body: Any) -> None:
        self._answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._start(status, {**(headers or {}), "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """http.server's own line per request says nothing that `asked` does not."""


def _google_item(key: str, stored: Stored) -> dict[str, Any]:
    item: dict[str, Any] = {"name": key, "size": str(len(stored.content))}
    item |= {"generation": str(stored.generation), "crc32c": stored.crc32c}
    if stored.parts == 1:
        item["md5Hash"] = b64encode(stored.md5).decode()
    if stored.encoding:
        item["contentEncoding"] = stored.encoding
    return item
