"""One connection to the mirror: the paths of the hub, answered as the hub answers them."""

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gemma_devcluster.mirror.state import Faults, HubFile, Request, State, commit_of, files_of

ACCEPTED_TOKEN = "hf_accepted"
INVALID_TOKEN = "hf_invalid"
CHUNK_BYTES = 256 * 1024
# Size of the text that stands in git for a large file; the hub reports it, nobody reads it.
POINTER_BYTES = 134

_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<rev>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)")
_LARGE = re.compile(r"/large-files/(?P<repo>[^/]+/[^/]+)/(?P<file>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Handler(BaseHTTPRequestHandler):
    """Bound to a state by `type("Handler", (Handler,), {"state": state})`."""

    state: State
    protocol_version = "HTTP/1.1"
    server_version = "gemma-weights-mirror"

    def do_GET(self) -> None:
        """Answer GET and HEAD."""
        path = unquote(urlsplit(self.path).path)
        if path == "/healthz":
            self._json(200, {"status": "ok"}, logged=False)
        elif path == "/admin/requests":
            with self.state.lock:
                requests = [asdict(request) for request in self.state.requests]
            self._json(200, requests, logged=False)
        elif match := _TREE.fullmatch(path):
            self._tree(match["repo"], match["rev"])
        elif match := _INFO.fullmatch(path):
            self._info(match["repo"], match["rev"] or "main")
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match["repo"], match["rev"], match["file"])
        elif match := _LARGE.fullmatch(path):
            self._large_file(match["repo"], match["file"])
        else:
            self._error(404, "NotFound", f"nothing is served at {path}")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def do_POST(self) -> None:
        """`POST /admin/faults {"repository": "owner/name", "gated": true, …}`."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path != "/admin/faults":
            self._error(404, "NotFound", "the only thing to post to is /admin/faults")
            return
        try:
            wanted = json.loads(body)
            repository = str(wanted.pop("repository"))
            self.state.faults[repository] = replace(Faults(), **wanted)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            known = ", ".join(each.name for each in fields(Faults))
            self._error(400, "BadRequest", f"expected repository and any of {known}: {error}")
            return
        self._json(200, {"status": "ok"}, logged=False)

    def _repository(self, repository: str, revision: str) -> tuple[list[HubFile], str] | None:
        """Files and commit; None where an error was answered."""
        status = self.state.faults_of(repository).status
        if status is not None:
            self._error(status, "Unavailable", "out of order on request")
            return None
        folder = self.state.folder(repository)
        if folder is None:
            # Who is not signed in is not told whether a repository exists.
            status = 404 if self._token() else 401
            self._error(
                status, "RepoNotFound", "Repository not found" if self._token() else "Invalid username"
            )
            return None
        files = files_of(folder)
        commit = commit_of(files)
        if revision not in ("main", commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return files, commit

    def _info(self, repository: str, revision: str) -> None:
        found = self._repository(repository, revision)
        if found is None:
            return
        files, commit = found
        siblings = [
            {
                "rfilename": file.name,
                "size": file.size,
                "blobId": file.git_oid,
                **({"lfs": _large_file_entry(file)} if file.sha256 else {}),
            }
            for file in files
        ]
        gated = "manual" if self.state.faults_of(repository).gated else False
        names = {"id": repository, "modelId": repository, "sha": commit}
        self._json(200, {**names, "private": False, "gated": gated, "tags": [], "siblings": siblings})

    def _tree(self, repository: str, revision: str) -> None:
        found = self._repository(repository, revision)
        if found is None:
            return
        entries = [
            {
                "type": "file",
                "path": file.name,
                "size": file.size,
                "oid": file.git_oid,
                **(
                    {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": POINTER_BYTES}}
                    if file.sha256
                    else {}
                ),
            }
            for file in found[0]
        ]
        self._json(200, entries)

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        found = self._repository(repository, revision)
        if found is None or self._is_refused(repository):
            return
        files, commit = found
        file = next((each for each in files if each.name == name), None)
        if file is None:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        about = _about(file, commit)
        if file.sha256 is None:
            self._send_file(repository, file, about)
            return
        location = f"{self.state.scheme}://{self.headers.get('Host')}/large-files/{repository}/{name}"
        self._answer(302, b"", {**about, "Location": location})

    def _large_file(self, repository: str, name: str) -> None:
        found = self._repository(repository, "main")
        file = next((each for each in found[0] if each.name == name), None) if found else None
        if found is not None and file is not None:
            self._send_file(repository, file, _about(file, found[1]))
        elif found is not None:
            self._error(404, "NotFound", f"no such file: {name}")

    def _is_refused(self, repository: str) -> bool:
        """Answer 401 or 403 where the hub would, and say whether that was done."""
        token = self._token()
        if token == INVALID_TOKEN:
            self._error(401, "", "Invalid credentials in Authorization header")
        elif not self.state.faults_of(repository).gated or token == ACCEPTED_TOKEN:
            return False
        elif token is None:
            self._error(
                401, "GatedRepo", f"Access to model {repository} is restricted. You must be authenticated."
            )
        else:
            self._error(
                403, "GatedRepo", f"Access to model {repository} is restricted; ask for access first."
            )
        return True

    def _token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    def _send_file(self, repository: str, file: HubFile, headers: dict[str, str]) -> None:
        start, stop = 0, file.size
        wanted = self.headers.get("Range")
        if wanted is not None:
            match = _RANGE.fullmatch(wanted)
            if match is None or int(match[1]) >= file.size:
                self._answer(416, b"", {"Content-Range": f"bytes */{file.size}"})
                return
            start, stop = int(match[1]), int(match[2]) + 1 if match[2] else file.size
            headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}
        status = 206 if wanted is not None else 200
        self._start(status, {**headers, "Content-Length": str(stop - start), "Accept-Ranges": "bytes"})
        sent = 0
        if self.command != "HEAD":
            sent = self._send_body(repository, file, start, stop)
        self._log(status, sent)

    def _send_body(self, repository: str, file: HubFile, start: int, stop: int) -> int:
        faults = self.state.faults_of(repository)
        below = faults.cut_below_offset
        limit = faults.cut_after_bytes if below is None or start < below else None
        corrupt_at = faults.corrupt_at
        if (
            corrupt_at is None
            or not start <= corrupt_at < stop
            or not self.state.corrupts(repository, faults)
        ):
            corrupt_at = None
        sent = 0
        try:
            for offset, chunk in _chunks(
                file.path, start, stop if limit is None else min(stop, start + limit)
            ):
                if corrupt_at is not None and offset <= corrupt_at < offset + len(chunk):
                    chunk[corrupt_at - offset] ^= 0xFF
                self.wfile.write(chunk)
                sent += len(chunk)
                if faults.bytes_per_second:
                    time.sleep(len(chunk) / faults.bytes_per_second)
            if sent < stop - start:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        return sent

    def _json(self, status: int, body: Any, *, logged: bool = True) -> None:
        self._answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"}, logged=logged)

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        about = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._answer(status, json.dumps({"error": message}).encode(), about)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], *, logged: bool = True) -> None:
        self._start(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)
        if logged:
            self._log(status, len(body))

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _log(self, status: int, sent: int) -> None:
        wanted = self.headers.get("Range")
        request = Request(self.command, self.path, wanted, self._token() is not None, status, sent)
        with self.state.lock:
            self.state.requests.append(request)

    def log_message(self, format: str, *args: object) -> None:
        """http.server's own line per request says nothing that `requests` does not."""


def _about(file: HubFile, commit: str) -> dict[str, str]:
    etag = f'"{file.etag}"'
    return {"X-Repo-Commit": commit, "X-Linked-Size": str(file.size), "X-Linked-ETag": etag, "ETag": etag}


def _large_file_entry(file: HubFile) -> dict[str, object]:
    return {"sha256": file.sha256, "size": file.size, "pointerSize": POINTER_BYTES}


def _chunks(path: Path, start: int, stop: int) -> Iterator[tuple[int, bytearray]]:
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        while offset < stop and (chunk := file.read(min(CHUNK_BYTES, stop - offset))):
            yield offset, bytearray(chunk)
            offset += len(chunk)
