"""Upload of a plan in one commit: all of its files, or nothing."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session, hf_raise_for_status

from gemkr_hf.hub.exclusion_rules import check_files
from gemkr_hf.hub.upload_plan import UploadPlan, readable_size
from gemkr_hf.utils.deprecation import warn_renamed
from gemkr_hf.utils.hub_ids import check_repo_id

logger = logging.getLogger(__name__)

GROUP_SIZE = 2**30
"""Bytes that are sent before the Hub registers them: an interrupted upload resumes after the last
complete group."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class UploadResult:
    """Outcome of an upload.

    Attributes:
        url: address of the repository, or of the pull request.
        commit: id of the new commit, or of the existing one if nothing changed.
        deleted: files of an older upload that the commit deleted.
    """

    url: str
    commit: str
    deleted: tuple[str, ...]


def check_plan(plan: UploadPlan) -> None:
    """Check all of a plan that can be checked without the Hub.

    Raises:
        UploadRefused: the plan contains secrets, local paths, training states or pickles.
        ValueError: the Hub id is not of the form ``"owner/name"``.
    """
    check_repo_id(plan.repo_id)
    check_files(plan.files)


def upload(
    plan: UploadPlan,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    message: str | None = None,
    create_pr: bool = False,
    log: Log | None = None,
    say: Log | None = None,
) -> UploadResult:
    """Check a plan and upload its files in one commit.

    An interrupted upload leaves the repository unchanged; the same call resumes it. Files that an
    older upload left are deleted by the same commit.

    Args:
        plan: what to upload.
        private: create a private repository; an existing public one is refused.
        revision: branch; created if it does not exist.
        token: Hugging Face token; the saved one by default.
        message: commit message; the plan's by default.
        create_pr: open a pull request instead of committing.
        log: receives a line for each group of files; by default they are logged at level INFO.
        say: deprecated name of ``log``.

    Returns:
        Address, commit and deleted files.

    Raises:
        UploadRefused: the plan contains secrets, local paths, training states or pickles.
        ValueError: an invalid Hub id, a public repository instead of a private one, or a card
            that the Hub rejects.
        PermissionError: no token, or one without write access.
        ConnectionError: the Hub cannot be reached, or fails.
    """
    if say is not None:
        warn_renamed("say", "log")
    log = log or say or logger.info
    check_plan(plan)
    api = HfApi(token=token)
    kind = plan.repo_type
    try:
        repository = api.create_repo(
            plan.repo_id,
            repo_type=kind,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if kind == "space" else None,
        )
        repo_id = repository.repo_id
        if private and not api.repo_info(repo_id, repo_type=kind).private:
            raise ValueError(
                f"The {kind} repository {repo_id} exists and is public: make it private in its "
                "settings, or choose another name"
            )
        if revision is not None and not create_pr:
            api.create_branch(repo_id, branch=revision, repo_type=kind, exist_ok=True)
        present = api.list_repo_files(repo_id, repo_type=kind, revision=revision)
        deleted = plan.stale(present)
        # Before anything large is sent, the Hub validates the card.
        for file in plan.files:
            if file.path == "README.md":
                _validate_card(file.read().decode(), kind, api.endpoint)
        additions = [CommitOperationAdd(file.path, file.source) for file in plan.files]
        sent = 0
        for group in _groups(additions):
            api.preupload_lfs_files(
                repo_id,
                additions=group,
                repo_type=kind,
                revision=revision,
                create_pr=create_pr,
                free_memory=False,
            )
            sent += sum(addition.upload_info.size for addition in group)
            log(f"Uploaded {readable_size(sent)} of {readable_size(plan.size)}")
        commit = api.create_commit(
            repo_id,
            operations=[*additions, *(CommitOperationDelete(path) for path in deleted)],
            commit_message=message or plan.message,
            repo_type=kind,
            revision=revision,
            create_pr=create_pr,
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise _readable_error(error, plan) from error
    return UploadResult(commit.pr_url or str(repository), commit.oid, tuple(deleted))


def _validate_card(card: str, kind: str, endpoint: str) -> None:
    """Ask the Hub whether it accepts a card (`RepoCard.validate` may ask another endpoint).

    Raises:
        ValueError: it does not.
    """
    response = get_session().post(
        f"{endpoint}/api/validate-yaml",
        json={"repoType": kind, "content": card},
        headers={"Accept": "text/plain"},
    )
    if response.status_code == 400:
        raise ValueError(f"The Hub rejects the card (README.md): {response.text}")
    hf_raise_for_status(response)


def _groups(additions: list[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    """Group files, smallest first, into groups of at most `GROUP_SIZE` or of one file."""
    group: list[CommitOperationAdd] = []
    size = 0
    for addition in sorted(additions, key=lambda addition: addition.upload_info.size):
        size += addition.upload_info.size
        if group and size > GROUP_SIZE:
            yield group
            group, size = [], addition.upload_info.size
        group.append(addition)
    if group:
        yield group


def _readable_error(error: Exception, plan: UploadPlan) -> Exception:
    where = f"the {plan.repo_type} repository {plan.repo_id}"
    resume = "repeat the upload to resume it"
    if isinstance(error, LocalTokenNotFoundError):
        return PermissionError(f"No Hugging Face token to write to {where}: run 'hf auth login'")
    if isinstance(error, OfflineModeIsEnabled):
        return ConnectionError(f"Cannot write to {where}: HF_HUB_OFFLINE is set")
    if not isinstance(error, HfHubHTTPError):
        return ConnectionError(f"The Hub cannot be reached ({type(error).__name__}): {resume}")
    status = error.response.status_code
    if status in (401, 403, 404):
        return PermissionError(
            f"No permission to write to {where} (HTTP {status}): run 'hf auth login' with a token "
            "that has write access, or choose another repository"
        )
    if status < 500:
        return ValueError(f"The Hub rejects the upload to {where}: {error.server_message or error}")
    return ConnectionError(f"The Hub failed (HTTP {status}): {resume}")


__all__ = ["GROUP_SIZE", "UploadResult", "check_plan", "upload"]
