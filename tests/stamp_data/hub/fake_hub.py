"""As much of the Hugging Face hub as its client needs to make, fill and read a dataset. It forgets all when it ends."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SMALL = 300  # bytes of files that are kept as they are; others go to the large store first
TOKEN = "hf_secretsecretsecretsecretsecret"


class Datasets:
    """names -> branch -> path -> bytes. calls: what was asked for. stop_after: uploads until the store is out of order."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.ignored: set[str] = set()
        self.stop_after = 10**9
        self.commits = 0

    def commit(self, name: str, branch: str) -> str:
        """A name of the state of a branch."""
        files = self.held[name][branch]
        digests = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in files.items())
        return hashlib.sha1(repr(digests).encode()).hexdigest()

    def at(self, name: str, revision: str) -> dict[str, bytes]:
        """The files of a branch or commit; KeyError."""
        branches = self.held[name]
        return next(files for branch, files in branches.items() if revision in (branch, self.commit(name, branch)))


@contextmanager
def serving() -> Iterator[tuple[str, Datasets]]:
    """(address, what it holds)."""
    held = Datasets()

    class Handler(_Handler):
        datasets = held

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", held
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    datasets: Datasets
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status: int, code: str = "") -> None:
        self.answer({"error": "no"}, status, **({"X_Error_Code": code} if code else {}))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.datasets.calls.append(f"{self.command} {'/'.join(path)}")
        name = "/".join(path[2:4] if path[0] == "api" else path[1:3])
        is_ours = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self.datasets.held or (name in self.datasets.private and not is_ours):
            return self.fail(404 if is_ours else 401, "RepoNotFound")
        try:
            if path[0] == "api":
                revision = path[5] if len(path) > 5 else "main"
                files = self.datasets.at(name, revision)
                if path[4:5] == ["tree"]:
                    return self.answer([_entry(path, data) for path, data in files.items()])
                sha = revision if len(revision) == 40 else self.datasets.commit(name, revision)
                return self.answer({"id": name, "sha": sha, "private": name in self.datasets.private, "siblings": []})
            files = self.datasets.at(name, path[4])
        except StopIteration:
            return self.fail(404, "RevisionNotFound")
        found = "/".join(path[5:])
        if found not in files:
            return self.fail(404, "EntryNotFound")
        data = files[found]
        digest = hashlib.sha256(data).hexdigest()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.answer(data[start:], 206 if start else 200, ETag=f'"{digest}"', X_Repo_Commit=path[4])
        return None

    def do_PUT(self) -> None:
        data = self.body()
        self.datasets.calls.append(f"PUT {len(data)}")
        if len([call for call in self.datasets.calls if call.startswith("PUT")]) > self.datasets.stop_after:
            return self.fail(403)
        self.datasets.stored[hashlib.sha256(data).hexdigest()] = data
        self.answer({})
        return None

    def do_POST(self) -> None:
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.datasets.calls.append(f"POST {'/'.join(path)}")
        data = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.fail(401)
        if path[-1] == "validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path[-2:] == ["repos", "create"]:
            return self.create(json.loads(data))
        if path[-2:] == ["objects", "batch"]:
            return self.answer(
                {"transfer": "basic", "objects": [self.action(one) for one in json.loads(data)["objects"]]}
            )
        name, kind, branch = "/".join(path[2:4]), path[4], path[5]
        if kind == "branch":
            self.datasets.held[name].setdefault(branch, dict(self.datasets.held[name]["main"]))
            return self.answer({})
        if kind == "preupload":
            return self.answer({"files": [self.mode(one) for one in json.loads(data)["files"]]})
        for line in data.splitlines():
            self.change(self.datasets.held[name][branch], json.loads(line))
        self.datasets.commits += 1
        self.answer({"commitUrl": f"/{name}/commit/x", "commitOid": self.datasets.commit(name, branch)})
        return None

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        said = {"url": f"http://{self.headers['Host']}/datasets/{name}", "id": name}
        if name in self.datasets.held:
            return self.answer(said, 409)
        self.datasets.held[name] = {"main": {".gitattributes": b"*.tar filter=lfs\n"}}
        if asked.get("private") or asked.get("visibility") == "private":
            self.datasets.private.add(name)
        self.answer(said)
        return None

    def action(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.datasets.stored:
            return one
        host = self.headers["Host"]
        return {**one, "actions": {"upload": {"href": f"http://{host}/store/{one['oid']}"}}}

    def mode(self, one: dict[str, Any]) -> dict[str, Any]:
        large = one["size"] > SMALL
        ignored = one["path"] in self.datasets.ignored
        return {"path": one["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignored, "oid": None}

    def change(self, files: dict[str, bytes], line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = self.datasets.stored[value["oid"]]
        elif line["key"] == "deletedFile":
            del files[value["path"]]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    large = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
    return {"type": "file", "path": path, "size": len(data), "oid": oid, **(large if len(data) > SMALL else {})}
