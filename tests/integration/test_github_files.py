"""Workflow, forms and hooks: valid, and in agreement with pyproject.toml and the Makefile."""

import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.project import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml"))


def read(path: str | Path) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return read(".github/workflows/tests.yml")


def combinations(job: dict[str, Any]) -> list[dict[str, str]]:
    """The values of each combination of a job's matrix; one empty combination without a matrix."""
    axes = dict(job.get("strategy", {}).get("matrix", {}))
    included = axes.pop("include", [])
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] + included


def test_the_workflow_tests_the_python_versions_that_the_package_names(workflow) -> None:
    prefix = "Programming Language :: Python :: 3."
    named = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if c.startswith(prefix)}
    tested = {
        c["python"] for c in combinations(workflow["jobs"]["tests"]) if c["make"] == "test-fast"
    }
    assert tested == named
    accepted = SpecifierSet(PROJECT["requires-python"])
    oldest = min(int(version.split(".")[1]) for version in named)
    assert all(version in accepted for version in named)
    assert f"3.{oldest - 1}" not in accepted


def test_the_workflow_calls_targets_that_the_makefile_has(workflow) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = set()
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            for values in combinations(job):
                command = re.sub(
                    r"\$\{\{ matrix\.(\w+) \}\}", lambda m, v=values: v[m[1]], step.get("run", "")
                )
                called |= set(re.findall(r"^make ([\w-]+)", command, re.MULTILINE))
    assert {"lint", "test-fast", "test-oldest", "test-slow", "dist"} == called
    assert called <= set(targets)


def test_the_workflow_may_only_read_and_replaces_older_runs(workflow) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    # YAML 1.1 reads the key "on" as true.
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])


def test_slow_tests_do_not_run_for_pull_requests(workflow) -> None:
    conditions = {name: job.get("if") for name, job in workflow["jobs"].items()}
    assert conditions.pop("slow") == "github.event_name != 'pull_request'"
    assert set(conditions.values()) == {None}


def test_actions_are_used_by_their_major_version(workflow) -> None:
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)
    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        if step.get("uses", "").startswith("actions/setup-python@"):
            assert step["with"]["cache"] == "pip"


@pytest.mark.parametrize("form", FORMS, ids=[path.stem for path in FORMS])
def test_the_forms_of_issues_are_complete(form) -> None:
    content = read(form)
    assert set(content) == {"name", "description", "labels", "body"}
    fields = [part for part in content["body"] if part["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids) > 1
    for field in fields:
        assert field["type"] in ("checkboxes", "dropdown", "input", "textarea")
        assert field["attributes"]["label"]
    assert any(field["validations"]["required"] for field in fields)


def test_the_other_files_are_valid() -> None:
    assert read(".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": True}
    [update] = read(".github/dependabot.yml")["updates"]
    assert update["package-ecosystem"] == "github-actions"
    assert "CHANGELOG.md" in (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text()


def test_hooks_run_what_the_extra_for_tests_installs() -> None:
    config = read(".pre-commit-config.yaml")
    [repository] = config["repos"]
    extra = {Requirement(line).name for line in PROJECT["optional-dependencies"]["test"]}
    assert repository["repo"] == "local"
    assert {"ruff", "mypy", "import-linter", "pre-commit", "pre-commit-hooks"} <= extra
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_hooks_leave_files_alone_that_stay_as_they_were_written() -> None:
    exclude = re.compile(read(".pre-commit-config.yaml")["exclude"])
    for folder in ("tests/formats", "gemkr_hf/toy/stand_ins/checkpoints"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        for path in files:
            if "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                assert bool(exclude.search(name)) == (path.suffix != ".py"), name
