"""A stand-in for the Hugging Face Hub on the loopback: what huggingface_hub asks of the real one
to make repositories, to upload, and to download, without Xet."""

import base64
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.unit.hub.hub_repositories import (
    HubFault,
    Repositories,
    Repository,
    Stored,
    is_large,
    problems_of_card,
)

_REPO = r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)"
_API = rf"/api/(?P<type>model|dataset|space)s/{_REPO}"
_FILES = rf"(?:/(?P<type>dataset|space)s)?/{_REPO}"


@dataclass(frozen=True)
class Request:
    """One request, as tests look at it."""

    method: str
    path: str
    status: int
    received: int
    sent: int
    token: bool


class StandInHub:
    """Serves until the ``with`` block ends.

    Args:
        tokens: users by their tokens.
    """

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.tokens = {"hf_test_alice": "alice"} if tokens is None else tokens
        self.state = Repositories()
        self.requests: list[Request] = []
        self.lost: set[tuple[str, str]] = set()
        self.damaged: dict[str, bytes] = {}
        self.is_down = False
        self._uploads_left: int | None = None
        self._released = threading.Event()
        self.uploads_held = threading.Event()

    def __enter__(self) -> "StandInHub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.hub = self  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def environment(self, folder: Path, token: str | None = "hf_test_alice") -> dict[str, str]:
        """The environment of a client process with a fresh cache in ``folder``."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING_FACE", "TRANSFORMERS_"))
        }
        settings = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(folder / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",  # the stand-in has the plain protocol of large files
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        if token is not None:
            settings["HF_TOKEN"] = token
        return {**kept, **settings}

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict:
        """Contents by path."""
        repository = self.state.repositories[repo_type, repo_id]
        files = repository.commits[repository.commit_of(revision)]
        return {path: self.state.contents[stored.oid] for path, stored in files.items()}

    def repository(self, repo_id: str, repo_type: str = "model") -> Repository:
        return self.state.repositories[repo_type, repo_id]

    def uploaded(self) -> list[Request]:
        """Large objects that were sent."""
        return [r for r in self.requests if r.method == "PUT" and r.status == 200]

    def downloaded(self) -> set[str]:
        """Names of files that were fetched with their contents."""
        names = {
            stored.oid: path
            for repository in self.state.repositories.values()
            for files in repository.commits.values()
            for path, stored in files.items()
        }
        found = set()
        for request in self.requests:
            match = re.search(r"/resolve/[^/]+/(.+)|/cdn/(.+)", request.path)
            if match and request.method == "GET" and request.status in (200, 206):
                found.add(match[1] or names[match[2]])
        return found

    # -- faults ----------------------------------------------------------------------------------

    def hold_uploads_after(self, number: int) -> None:
        """Accept this many large objects; the next upload is left waiting."""
        self._uploads_left = number
        self._released.clear()
        self.uploads_held.clear()

    def release(self) -> None:
        self._uploads_left = None
        self._released.set()

    def take_upload(self) -> None:
        if self._uploads_left is None:
            return
        if self._uploads_left == 0:
            self.uploads_held.set()
            self._released.wait(120)
            raise HubFault(503, "The upload was held")
        self._uploads_left -= 1

    def lose(self, repo_id: str, path: str) -> None:
        """List a file, and not have it."""
        self.lost.add((repo_id, path))

    def damage(self, repo_id: str, path: str, repo_type: str = "model") -> None:
        """Serve other bytes, of the same number, under the same ETag."""
        repository = self.repository(repo_id, repo_type)
        oid = repository.commits[repository.refs["main"]][path].oid
        content = bytearray(self.state.contents[oid])
        content[len(content) // 2] ^= 0xFF
        self.damaged[oid] = bytes(content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandInHub

    def log_message(self, *args: object) -> None:
        """Tests read ``hub.requests``."""

    def handle_one_request(self) -> None:
        self.hub = self.server.hub  # type: ignore[attr-defined]
        super().handle_one_request()

    def _answer(self) -> None:
        self.path_only = unquote(urlsplit(self.path).path)
        self.received = self.sent = 0
        authorization = self.headers.get("Authorization", "")
        self.user = self.hub.tokens.get(authorization.removeprefix("Bearer "))
        try:
            self.body = self._read_body()
            if self.hub.is_down:
                raise HubFault(503, "Service unavailable")
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, self.path_only)
                if match and self.command in method.split():
                    answer(self, **match.groupdict())
                    return
            raise HubFault(404, f"The stand-in knows no {self.command} {self.path_only}")
        except HubFault as fault:
            headers = {"X-Error-Message": fault.message}
            if fault.code:
                headers["X-Error-Code"] = fault.code
            self._json({"error": fault.message, **fault.body}, fault.status, headers)
        except ConnectionError:
            self.close_connection = True  # the client is gone

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.received = len(body)
        return body

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            self.sent = len(content)
        self.hub.requests.append(
            Request(
                self.command,
                self.path_only,
                status,
                self.received,
                self.sent,
                "Authorization" in self.headers,
            )
        )

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(content).encode()
        self._send(status, text, {"Content-Type": "application/json", **(headers or {})})

    # -- repositories ------------------------------------------------------------------------------

    def _writer(self, owner: str) -> None:
        if self.user is None:
            raise HubFault(401, "Invalid username or password.")
        if self.user != owner and owner != "org":
            raise HubFault(403, f"You don't have the rights to write to {owner}")

    def _find(self, type: str | None, owner: str, name: str) -> Repository:
        user = owner if self.user and owner == "org" else self.user
        return self.hub.state.find(type or "model", f"{owner}/{name}", user)

    def whoami(self) -> None:
        if self.user is None:
            raise HubFault(401, "Invalid username or password.")
        self._json({"type": "user", "name": self.user, "auth": {"type": "access_token"}})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user or ""
        self._writer(owner)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        kind, repo_id = asked.get("type") or "model", f"{owner}/{asked['name']}"
        if kind == "space" and not asked.get("sdk"):
            raise HubFault(400, "A Space needs an sdk")
        prefix = "" if kind == "model" else f"{kind}s/"
        answer = {"url": f"{self.hub.endpoint}/{prefix}{repo_id}", "name": repo_id}
        if (kind, repo_id) in self.hub.state.repositories:
            raise HubFault(409, "You already created this repo", **answer)
        self.hub.state.create(kind, repo_id, private)
        self._json(answer)

    def branch(self, type: str, owner: str, name: str, branch: str) -> None:
        self._writer(owner)
        repository = self._find(type, owner, name)
        if branch in repository.refs:
            raise HubFault(409, f"Reference already exists: {branch}")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        repository.refs[branch] = repository.commit_of(start)
        self._json({})

    def tag(self, type: str, owner: str, name: str, revision: str) -> None:
        self._writer(owner)
        repository = self._find(type, owner, name)
        repository.refs[json.loads(self.body)["tag"]] = repository.commit_of(revision)
        self._json({})

    def info(self, type: str, owner: str, name: str, revision: str | None = None) -> None:
        repository = self._find(type, owner, name)
        commit = repository.commit_of(revision or "main")
        files = [{"rfilename": path} for path in sorted(repository.commits[commit])]
        self._json(
            {
                "id": repository.repo_id,
                "_id": "0",
                "sha": commit,
                "private": repository.private,
                "siblings": files,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        )

    def tree(self, type: str, owner: str, name: str, revision: str) -> None:
        repository = self._find(type, owner, name)
        files = repository.commits[repository.commit_of(revision)]
        self._json([_tree_entry(path, stored) for path, stored in sorted(files.items())])

    def paths_info(self, type: str, owner: str, name: str, revision: str) -> None:
        repository = self._find(type, owner, name)
        files = repository.commits[repository.commit_of(revision)]
        wanted = json.loads(self.body)["paths"]
        self._json([_tree_entry(path, files[path]) for path in wanted if path in files])

    # -- uploads -----------------------------------------------------------------------------------

    def validate(self) -> None:
        asked = json.loads(self.body)
        errors, warnings = problems_of_card(asked["content"], asked["repoType"])
        found = {
            "errors": [{"message": message} for message in errors],
            "warnings": [{"message": message} for message in warnings],
        }
        self._json(found, 400 if errors else 200)

    def preupload(self, type: str, owner: str, name: str, revision: str) -> None:
        self._writer(owner)
        repository = self._find(type, owner, name)
        present = repository.commits[repository.commit_of(revision)]
        answers = []
        for file in json.loads(self.body)["files"]:
            large = is_large(file["path"], file["size"])
            answer = {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
            }
            if file["path"] in present:
                answer["oid"] = present[file["path"]].oid
            answers.append(answer)
        self._json({"files": answers})

    def batch(self, type: str | None, owner: str, name: str) -> None:
        self._writer(owner)
        self._find(type, owner, name.removesuffix(".git"))
        answers = []
        for wanted in json.loads(self.body)["objects"]:
            answer = dict(wanted)
            if wanted["oid"] not in self.hub.state.contents:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/objects/{wanted['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/verify"},
                }
            answers.append(answer)
        self._json({"transfer": "basic", "objects": answers})

    def put_object(self, oid: str) -> None:
        self.hub.take_upload()
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise HubFault(400, "The object is not what was announced")
        self.hub.state.contents[oid] = self.body
        self._send(200, b"", {})

    def verify(self) -> None:
        asked = json.loads(self.body)
        content = self.hub.state.contents.get(asked["oid"])
        if content is None or len(content) != asked["size"]:
            raise HubFault(400, "The object is not there")
        self._json({})

    def commit(self, type: str, owner: str, name: str, revision: str) -> None:
        self._writer(owner)
        repository = self._find(type, owner, name)
        changes = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = changes.pop(0)["value"]
        parent = header.get("parentCommit")
        if parent is not None and repository.commit_of(revision) != parent:
            raise HubFault(412, "The branch has moved on")
        for change in changes:
            if change["key"] == "file":
                change["value"]["content"] = base64.b64decode(change["value"]["content"])
        answer = {"hookOutput": ""}
        address = f"{self.hub.endpoint}/{repository.repo_id}"
        if "create_pr=1" in self.path:
            number = sum(name.startswith("refs/pr/") for name in repository.refs) + 1
            repository.refs[f"refs/pr/{number}"] = repository.commit_of(revision)
            revision = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{address}/discussions/{number}"
        commit = self.hub.state.apply(repository, revision, header["summary"], changes)
        self._json({"commitUrl": f"{address}/commit/{commit}", "commitOid": commit, **answer})

    # -- downloads ---------------------------------------------------------------------------------

    def resolve(self, type: str | None, owner: str, name: str, revision: str, path: str) -> None:
        repository = self._find(type, owner, name)
        commit = repository.commit_of(revision)
        headers = {"X-Repo-Commit": commit}
        stored = repository.commits[commit].get(path)
        if stored is None or (repository.repo_id, path) in self.hub.lost:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self._json({"error": "Entry not found"}, 404, headers)
            return
        headers |= {"ETag": f'"{stored.etag}"', "Accept-Ranges": "bytes"}
        if stored.large:
            # Another host than the Hub's own: no token goes there.
            elsewhere = self.hub.endpoint.replace("127.0.0.1", "localhost")
            headers |= {
                "X-Linked-ETag": f'"{stored.etag}"',
                "X-Linked-Size": str(stored.size),
                "Location": f"{elsewhere}/cdn/{stored.oid}",
            }
            self._send(302, b"", headers)
        else:
            self._content(stored.oid, headers)

    def object(self, oid: str) -> None:
        self._content(oid, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _content(self, oid: str, headers: dict[str, str]) -> None:
        content = self.hub.damaged.get(oid, self.hub.state.contents[oid])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.command == "HEAD":
            self._send(200, b"", {**headers, "Content-Length": str(len(content))})
        elif wanted:
            part = content[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None]
            last = int(wanted[1]) + len(part) - 1
            headers["Content-Range"] = f"bytes {wanted[1]}-{last}/{len(content)}"
            self._send(206, part, headers)
        else:
            self._send(200, content, headers)


def _tree_entry(path: str, stored: Stored) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": stored.size, "oid": stored.oid}
    if stored.large:
        entry["lfs"] = {"oid": stored.oid, "size": stored.size, "pointerSize": 134}
    return entry


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", rf"{_API}/branch/(?P<branch>.+)", _Handler.branch),
    ("POST", rf"{_API}/tag/(?P<revision>.+)", _Handler.tag),
    ("POST", rf"{_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>.+)", _Handler.commit),
    ("POST", rf"{_API}/paths-info/(?P<revision>.+)", _Handler.paths_info),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)", _Handler.tree),
    ("GET", rf"{_API}/revision/(?P<revision>.+)", _Handler.info),
    ("GET", _API, _Handler.info),
    ("POST", rf"{_FILES}/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/objects/(?P<oid>[0-9a-f]{64})", _Handler.put_object),
    ("POST", "/verify", _Handler.verify),
    ("GET HEAD", rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
    ("GET HEAD", "/cdn/(?P<oid>[0-9a-f]{64})", _Handler.object),
]
