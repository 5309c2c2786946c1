"""Sending a plan: everything is there after one commit, or nothing is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoCard,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from gemkr_hf.hub import exclusion_rules as refusals
from gemkr_hf.hub.upload_plan import UploadPlan, readable_size

GROUP = 2**30
"""Bytes that are sent before the Hub is told that they are complete: an upload that stops goes on
behind the last such group."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Uploaded:
    """What an upload did.

    Attributes:
        url: address of the repository, or of the pull request that was asked for.
        commit: id of the new commit, or of the one that held all of it already.
        deleted: files of an older upload that are gone.
    """

    url: str
    commit: str
    deleted: tuple[str, ...]


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError for what is no "owner/name"."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"'{repo_id}' is no name of a repository: {error}") from None
    if "/" not in repo_id:
        raise ValueError(
            f"'{repo_id}' is no name of a repository: name its owner, 'owner/{repo_id}'"
        )


def upload(
    plan: UploadPlan,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    message: str | None = None,
    create_pr: bool = False,
    say: Say | None = None,
) -> Uploaded:
    """Upload a plan's files in one commit.

    Stopped at any moment, the repository is as it was; the same call again sends only what the Hub
    does not have. Files of an older upload that the new one has no longer are deleted by the same
    commit.

    Args:
        plan: what to upload.
        private: of a repository that is made now; one that is there must be what is asked for.
        revision: branch, made if it is not there.
        token: as everywhere in huggingface_hub; the saved one where None.
        message: of the commit; the plan's where None.
        create_pr: open a pull request in the place of a commit.
        say: takes a line for each group of files.

    Raises:
        Refused: the plan holds secrets, paths of this machine, states of a training or pickles.
        ValueError: a bad name, a public repository where a private one is asked for, or a card
            that the Hub does not take.
        PermissionError: no token, or one that may not write there.
        ConnectionError: the Hub cannot be reached, or fails.
    """
    check_repo_id(plan.repo_id)
    refusals.check(plan.files)
    api = HfApi(token=token)
    say = say or _nothing
    try:
        url = api.create_repo(
            plan.repo_id,
            repo_type=plan.repo_type,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if plan.repo_type == "space" else None,
        )
        info = api.repo_info(url.repo_id, repo_type=plan.repo_type)
        if private and not info.private:
            raise ValueError(
                f"The {plan.repo_type} repository {url.repo_id} is there and public: make it "
                "private in its settings, or name another one"
            )
        if revision is not None and not create_pr:
            api.create_branch(url.repo_id, branch=revision, repo_type=plan.repo_type, exist_ok=True)
        present = api.list_repo_files(url.repo_id, repo_type=plan.repo_type, revision=revision)
        deleted = plan.stale(present)
        done = _commit(api, plan, url.repo_id, deleted, revision, message, create_pr, say)
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise _in_one_sentence(error, plan) from error
    return Uploaded(done.pr_url or str(url), done.oid, tuple(deleted))


def _commit(
    api: HfApi,
    plan: UploadPlan,
    repo_id: str,
    deleted: list[str],
    revision: str | None,
    message: str | None,
    create_pr: bool,
    say: Say,
) -> CommitInfo:
    operations = [
        CommitOperationAdd(
            file.path, file.source if isinstance(file.source, bytes) else str(file.source)
        )
        for file in plan.files
    ]
    _check_card(plan)
    sent = 0
    for group in _groups(operations):
        api.preupload_lfs_files(
            repo_id,
            additions=group,
            repo_type=plan.repo_type,
            revision=revision,
            create_pr=create_pr,
            free_memory=False,
        )
        sent += sum(operation.upload_info.size for operation in group)
        say(f"{readable_size(sent)} of {readable_size(plan.size)} are there")
    return api.create_commit(
        repo_id,
        operations=[*operations, *(CommitOperationDelete(path) for path in deleted)],
        commit_message=message or plan.message,
        repo_type=plan.repo_type,
        revision=revision,
        create_pr=create_pr,
    )


def _check_card(plan: UploadPlan) -> None:
    """Have the Hub look at the card, before anything large is sent."""
    for file in plan.files:
        if file.path == "README.md":
            try:
                RepoCard(file.read().decode()).validate(repo_type=plan.repo_type)
            except ValueError as error:
                raise ValueError(f"The Hub does not take the card: {error}") from None


def _groups(operations: list[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    group: list[CommitOperationAdd] = []
    for operation in sorted(operations, key=lambda operation: operation.upload_info.size):
        if group and sum(o.upload_info.size for o in group) + operation.upload_info.size > GROUP:
            yield group
            group = []
        group.append(operation)
    if group:
        yield group


def _in_one_sentence(error: Exception, plan: UploadPlan) -> Exception:
    where = f"the {plan.repo_type} repository {plan.repo_id}"
    again = "what has been sent is kept, and the same call again goes on from there"
    if isinstance(error, LocalTokenNotFoundError):
        return PermissionError(f"There is no token to write to {where} with: run 'hf auth login'")
    if isinstance(error, OfflineModeIsEnabled):
        return ConnectionError(f"HF_HUB_OFFLINE is set: {where} cannot be written to")
    if not isinstance(error, HfHubHTTPError):
        return ConnectionError(f"The Hub could not be reached ({type(error).__name__}): {again}")
    status = error.response.status_code
    if status in (401, 403, 404):
        return PermissionError(
            f"The token may not write to {where} (HTTP {status}): run 'hf auth login' with one "
            "that may, or name another repository"
        )
    if status < 500:
        return ValueError(
            f"The Hub does not take this for {where}: {error.server_message or error}"
        )
    return ConnectionError(f"The Hub failed (HTTP {status}): {again}")


def _nothing(line: str) -> None:
    """For whoever wants no lines."""


__all__ = ["GROUP", "Uploaded", "check_repo_id", "upload"]
