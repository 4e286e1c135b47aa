"""A stand-in for the Hugging Face hub on loopback: what huggingface_hub calls to download and upload models."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants as constants
import pytest

TOKEN = "hf_standin"
LARGE = ".safetensors"  # the hub keeps these apart from git, under their SHA-256


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by commit: content by path
    branches: dict[str, str] = field(default_factory=dict)  # their commits

    def resolve(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        listed = sorted((path, git_hash(content)) for path, content in files.items())
        commit = hashlib.sha1(repr((len(self.commits), listed)).encode()).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


class StandInHub(ThreadingHTTPServer):
    """Holds repositories in memory; ``refused`` and ``cut`` make it fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.refused: dict[str, tuple[int, str]] = {}  # by name: the status and the error code
        self.cut: set[str] = set()  # paths of which half is sent
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing where a client closes its connection."""


class Handler(BaseHTTPRequestHandler):
    server: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, {"X-Error-Code": code} if code else {})

    def read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def find(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """Find a repository and a commit, or answer why not."""
        if name in self.server.refused:
            self.fail(*self.server.refused[name])
        elif name not in self.server.repositories:
            self.fail(404, "RepoNotFound")
        elif (commit := self.server.repositories[name].resolve(revision)) is None:
            self.fail(404, "RevisionNotFound")
        else:
            return self.server.repositories[name], commit
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            name, action, revision = "/".join(parts[2:4]), parts[4:5], (parts[5:6] or ["main"])[0]
            if (found := self.find(name, revision)) is None:
                return
            files = found[0].commits[found[1]]
            if action == ["tree"]:
                self.answer([describe(path, content) for path, content in files.items()])
            else:
                siblings = [{"rfilename": path} for path in files]
                self.answer({"id": name, "modelId": name, "sha": found[1], "siblings": siblings, "tags": []})
        elif len(parts) > 4 and parts[2] == "resolve":
            if found := self.find("/".join(parts[:2]), parts[3]):
                self.send_file(*found, "/".join(parts[4:]))
        else:
            self.fail(404, "")

    def send_file(self, repository: Repository, commit: str, path: str) -> None:
        content = repository.commits[commit].get(path)
        if content is None:
            self.answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        described = describe(path, content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{described["oid"]}"'}
        if "lfs" in described:
            headers |= {"X-Linked-Etag": f'"{described["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
        if path in self.server.cut and self.command == "GET":
            headers["Content-Length"] = str(len(content))
            self.close_connection = True
            content = content[: len(content) // 2]
        self.answer(content, 200, headers)

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.read()
        self.answer({})

    def do_POST(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        body = self.read()
        if parts == ["api", "validate-yaml"]:
            self.answer({"warnings": [], "errors": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.fail(401, "")
        elif parts == ["api", "repos", "create"]:
            content = json.loads(body)
            name = f"{content['organization']}/{content['name']}"
            if name in self.server.refused:
                self.fail(*self.server.refused[name])
                return
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, Repository()).commit({}) if not known else None
            self.answer({"url": f"{self.server.endpoint}/{name}", "name": name}, 409 if known else 200)
        elif parts[-3:] == ["lfs", "objects", "batch"]:
            self.answer({"transfer": "basic", "objects": [self.plan(one) for one in json.loads(body)["objects"]]})
        elif parts[4] == "preupload":
            self.answer({"files": [plan_file(one["path"]) for one in json.loads(body)["files"]]})
        elif parts[4] == "branch":
            repository = self.server.repositories["/".join(parts[2:4])]
            repository.branches.setdefault(parts[5], repository.branches["main"])
            self.answer({})
        else:
            assert parts[4] == "commit", self.path
            self.commit("/".join(parts[2:4]), parts[5], [json.loads(line) for line in body.splitlines()])

    def plan(self, one: dict[str, Any]) -> dict[str, Any]:
        href = f"{self.server.endpoint}/lfs/{one['oid']}"
        return {"oid": one["oid"], "size": one["size"], "actions": {"upload": {"href": href}}}

    def commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        repository = self.server.repositories[name]
        files = dict(repository.commits[repository.branches[branch]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files, branch)
        self.answer({"commitUrl": f"{self.server.endpoint}/{name}/commit/{commit}", "commitOid": commit})


def plan_file(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


def describe(path: str, content: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if path.endswith(LARGE):
        large = hashlib.sha256(content).hexdigest()
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
            large.encode(),
            len(content),
        )
        described |= {
            "oid": git_hash(pointer),
            "lfs": {"oid": large, "size": len(content), "pointerSize": len(pointer)},
        }
    return described


@contextmanager
def serve_hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def settings(hub: StandInHub, cache: Path) -> dict[str, str]:
    """The environment of a process that uses this hub and an empty cache."""
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


def use_hub(monkeypatch: pytest.MonkeyPatch, hub: StandInHub, cache: Path) -> None:
    """Give this process those settings, which huggingface_hub reads when it is imported."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
