"""What the stand-in Hub keeps: repositories, their commits, and large objects."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGE = (".safetensors", ".parquet", ".arrow", ".png", ".bin", ".pt", ".model")
LARGE_ABOVE = 10 * 2**20
LICENSES = {
    "agpl-3.0", "apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "llama2", "llama3", "mit", "openrail", "other", "unknown",
}  # fmt: skip
TASKS = {"image-text-to-text", "text-generation", "text-retrieval", "visual-question-answering"}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


class HubFault(Exception):
    """An unsuccessful response."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


@dataclass(frozen=True)
class Stored:
    """A file of a commit: a blob of git, or a pointer to a large object."""

    oid: str
    size: int
    large: bool

    @property
    def etag(self) -> str:
        return self.oid


@dataclass
class Repository:
    """Commits, each with all of its files, and the branches and tags that name them."""

    repo_id: str
    repo_type: str
    private: bool
    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit_of(self, revision: str) -> str:
        commit = self.refs.get(revision, revision)
        if commit not in self.commits:
            raise HubFault(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def commit(self, files: dict[str, Stored], branch: str, message: str) -> str:
        text = f"{self.repo_type}/{self.repo_id}/{len(self.messages)}/{message}/{sorted(files)}"
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        self.refs[branch] = commit
        self.messages.append(message)
        return commit


class Repositories:
    """All repositories, and the contents of their files by their ids."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.contents: dict[str, bytes] = {}

    def create(self, repo_type: str, repo_id: str, private: bool) -> Repository:
        with self.lock:
            repository = Repository(repo_id, repo_type, private)
            attributes = self.keep(b"*.safetensors filter=lfs\n", large=False)
            repository.commit({".gitattributes": attributes}, "main", "initial commit")
            self.repositories[repo_type, repo_id] = repository
            return repository

    def find(self, repo_type: str, repo_id: str, user: str | None) -> Repository:
        repository = self.repositories.get((repo_type, repo_id))
        if repository is None or (repository.private and repo_id.split("/")[0] != user):
            status = 404 if user else 401
            raise HubFault(status, "Repository not found", "RepoNotFound")
        return repository

    def keep(self, content: bytes, large: bool) -> Stored:
        oid = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        self.contents[oid] = content
        return Stored(oid, len(content), large)

    def apply(
        self, repository: Repository, revision: str, message: str, changes: list[dict[str, Any]]
    ) -> str:
        """One commit of added and deleted files, or none of them."""
        with self.lock:
            files = dict(repository.commits[repository.commit_of(revision)])
            for change in changes:
                value = change["value"]
                if change["key"] == "file":
                    files[value["path"]] = self.keep(value["content"], large=False)
                elif change["key"] == "lfsFile":
                    if value["oid"] not in self.contents:
                        raise HubFault(400, f"LFS pointer of {value['path']} leads nowhere")
                    size = len(self.contents[value["oid"]])
                    files[value["path"]] = Stored(value["oid"], size, True)
                elif change["key"] == "deletedFile":
                    if value["path"] not in files:
                        raise HubFault(404, "A file with this name doesn't exist", "EntryNotFound")
                    del files[value["path"]]
                else:
                    raise HubFault(400, f"Unknown change {change['key']}")
            return repository.commit(files, revision, message)


def git_hash(content: bytes) -> str:
    """The id that git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str, size: int) -> bool:
    """Whether the Hub keeps a file as a large object."""
    return size > 0 and (path.endswith(LARGE) or size > LARGE_ABOVE)


def problems_of_card(content: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card's metadata, by the rules of the Hub's documentation."""
    parts = content.split("---\n")
    if not content.startswith("---\n") or len(parts) < 3:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"], []
    if not isinstance(data, dict):
        return ["YAML metadata must be a mapping"], []
    errors = []
    licenses = data.get("license")
    for license in licenses if isinstance(licenses, list) else [licenses]:
        if license is not None and license not in LICENSES:
            errors.append(f'"license" must be one of the known ids, not {license!r}')
    if licenses == "other" and not data.get("license_name"):
        errors.append('"license_name" is required with license: other')
    for name in ("tags", "datasets", "base_model", "language"):
        value = data.get(name)
        values = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(one, str) for one in values):
            errors.append(f'"{name}" must be a text or a list of texts')
    for name in ("pipeline_tag", "task_categories"):
        value = data.get(name)
        for task in value if isinstance(value, list) else [value]:
            if task is not None and task not in TASKS:
                errors.append(f'"{name}" names an unknown task {task!r}')
    if repo_type == "space":
        if data.get("sdk") not in ("gradio", "docker", "static"):
            errors.append('"sdk" must be one of gradio, docker, static')
        for name in ("colorFrom", "colorTo"):
            if data.get(name) is not None and data[name] not in COLOURS:
                errors.append(f'"{name}" must be one of {", ".join(sorted(COLOURS))}')
        if len(str(data.get("short_description", ""))) > 60:
            errors.append('"short_description" must have at most 60 characters')
    return errors + _problems_of_model_index(data.get("model-index")), []


def _problems_of_model_index(index: Any) -> list[str]:
    if index is None:
        return []
    try:
        for model in index:
            assert isinstance(model["name"], str)
            for result in model["results"]:
                assert isinstance(result["task"]["type"], str)
                assert isinstance(result["dataset"]["type"], str)
                assert isinstance(result["dataset"]["name"], str)
                for metric in result["metrics"]:
                    assert isinstance(metric["type"], str)
                    assert "value" in metric
    except (AssertionError, KeyError, TypeError) as error:
        return [f'"model-index" is malformed: {error!r}']
    return []
