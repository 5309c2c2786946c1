"""The core alone, each extra's error, and the licences of what the core brings."""

import ast
import re
import sys
from pathlib import Path

import pytest

from gemkr_hf.utils.extras import EXTRAS, MissingExtraError, require_extra
from tests.environments import (
    closure,
    distributions_of_modules,
    link_environment,
    normalized,
    project,
    requirements,
    run_in,
)
from tests.project import ROOT

OF_AN_EXTRA = {
    "baselines": "eval",
    "data": "train",
    "demo": "demo",
    "paper": "eval",
    "toy": "quickstart",
    "training": "train",
}
"""Folders of the package that need an extra."""


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Path:
    """An environment with the core's dependencies alone."""
    folder = tmp_path_factory.mktemp("core") / "site-packages"
    return link_environment(folder, closure(requirements()))


# -- what is declared ----------------------------------------------------------------------------


def test_the_core_has_at_most_fourteen_dependencies() -> None:
    assert len(project()["dependencies"]) <= 14


def test_the_extras_that_users_are_told_of() -> None:
    expected = {"yolo", "train", "eval", "demo", "reports", "quantization", "preferences", "all"}
    assert expected <= set(project()["optional-dependencies"])


def test_all_installs_every_extra_of_users() -> None:
    developers = {"all", "docs", "test"}
    names = {str(one) for one in requirements("all")}
    for extra in set(project()["optional-dependencies"]) - developers:
        assert {str(one) for one in requirements(extra)} <= names, extra


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_the_modules_that_are_checked(extra) -> None:
    installed = {normalized(one.name) for one in requirements(extra)}
    for module in EXTRAS[extra]:
        expected = distributions_of_modules().get(module, {normalized(module)})
        assert installed & expected, (extra, module)


def modules_imported(file: Path) -> set[str]:
    """Top-level modules that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"gemkr_hf"}


def test_every_import_is_declared() -> None:
    """Other modules may be imported only where `require_extra` is called before."""
    allowed = {room: {*closure(requirements(extra))} for room, extra in OF_AN_EXTRA.items()}
    core = {*closure(requirements())}
    # Part of numba; a backend that is not on the package index; with an error of its own.
    known = {"llvmlite", "pysdsl", "ultralytics"}
    undeclared = set()
    folders = ("gemkr_hf", "modeling", "processing")  # rglob follows no links
    for file in (path for name in folders for path in (ROOT / name).rglob("*.py")):
        room = file.relative_to(ROOT).parts[1]
        for module in modules_imported(file) - known:
            names = distributions_of_modules().get(module, {normalized(module)})
            if not names & (core | allowed.get(room, set())):
                undeclared.add((file, module))
    for file, module in undeclared:
        text = file.read_text(encoding="utf-8")
        assert "require_extra(" in text, (file, module)
        assert not re.search(rf"^(import|from) {module}\b", text, re.MULTILINE), (file, module)


# -- licences ------------------------------------------------------------------------------------

COPYLEFT = ("GPL", "AFFERO", "EUPL", "SSPL", "CC-BY-NC", "CREATIVE COMMONS")
PROPRIETARY = ("nvidia-", "cuda-")
"""Beginnings of names: libraries that torch's builds for CUDA bring, under NVIDIA's licences."""


def licence_of(installed) -> str:
    """The licence as the metadata states it: expression, classifiers, or first line of the text."""
    metadata = installed.metadata
    classifiers = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or ()
        if value.startswith("License ::") and not value.endswith("OSI Approved")
    ]
    text = metadata.get("License", "").strip().splitlines()
    return metadata.get("License-Expression") or ", ".join(classifiers) or (text[0] if text else "")


def test_no_dependency_of_the_core_is_copyleft() -> None:
    licences = {name: licence_of(one) for name, one in closure(requirements()).items()}
    assert {"torch", "transformers", "numba", "datasets"} <= set(licences)
    for name, licence in sorted(licences.items()):
        print(f"{name:<32} {licence}")  # noqa: T201 (pytest -rP shows the list)
    for name, licence in licences.items():
        assert not any(word in licence.upper() for word in COPYLEFT), (name, licence)
        if not name.startswith(PROPRIETARY):
            assert licence.upper() not in ("", "UNKNOWN"), f"{name} states no licence"
            assert "proprietary" not in licence.lower(), (name, licence)


def test_ultralytics_is_in_its_own_extra_only() -> None:
    assert "ultralytics" not in closure(requirements())
    for extra in set(project()["optional-dependencies"]) - {"yolo", "quickstart", "all", "test"}:
        assert "ultralytics" not in closure(requirements(extra)), extra


# -- an environment with the core alone ------------------------------------------------------------


def test_the_index_needs_four_packages_only(tmp_path) -> None:
    names = ("numpy", "numba", "pydivsufsort", "safetensors")
    wanted = [one for one in requirements() if one.name in names]
    assert len(wanted) == len(names)
    environment = link_environment(tmp_path / "site-packages", closure(wanted))
    program = """
import sys
import gemkr_hf.index
from gemkr_hf import FMIndex
index = FMIndex.build([[3, 1, 4, 1, 5], [9, 2, 6, 1, 5]])
index.save(sys.argv[1])
index = FMIndex.load(sys.argv[1])
print([row.tolist() for row in index.get_next([[1], [4, 1]])], index.lookup_doc([[4, 1], [1, 5]]))
for absent in ("torch", "transformers", "datasets", "filelock", "tqdm"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{absent} is in this environment")
"""
    run = run_in(environment, program, str(tmp_path / "index"))
    assert run.stdout == "[[4, 5], [5]] [ 0 -1]\n", run.stderr


CONSTRAINED = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from gemkr_hf import FMIndex, FMIndexConstraint

documents = [[5, 6, 7, 8, 9], [5, 6, 10, 11, 12], [13, 14, 15, 16]]
constraint = FMIndexConstraint(FMIndex.build(documents), eos_token_id=2, min_length=1, max_length=5)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)).eval()
prompt = torch.tensor([[1, 20, 21]])
clues = model.generate(
    prompt, attention_mask=torch.ones_like(prompt), logits_processor=[constraint], num_beams=3,
    num_return_sequences=3, max_new_tokens=6,
)[:, 3:]
index = FMIndex.build(documents)
for clue in clues.tolist():
    clue = [token for token in clue if token not in (0, 2)]
    assert index.lookup_doc([clue])[0] >= 0, clue
print("in the documents")
"""


def test_the_core_constrains_a_plain_language_model(core) -> None:
    run = run_in(core, CONSTRAINED)
    assert run.stdout == "in the documents\n", run.stderr


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "import gemkr_hf.training",
            "Training needs accelerate, matplotlib and peft: pip install 'gemkr-hf[train]'",
        ),
        ("from gemkr_hf.baselines import BM25Retriever", "pip install 'gemkr-hf[eval]'"),
        ("import gemkr_hf.paper", "pip install 'gemkr-hf[eval]'"),
        ("from gemkr_hf.toy.quickstart import run_quickstart", "'gemkr-hf[quickstart]'"),
        (
            "from gemkr_hf.evaluation.significance import p_value\np_value([1.0], [0.0])",
            "Significance tests need ranx: pip install 'gemkr-hf[eval]'",
        ),
        (
            "from gemkr_hf.knowledge_base.best_match import BestMatch\nBestMatch(['a'])",
            "BM25 needs bm25s: pip install 'gemkr-hf[eval]'",
        ),
        (
            "from gemkr_hf.utils.figures import new_figure\nnew_figure(1, 1)",
            "Plots need matplotlib: pip install 'gemkr-hf[reports]'",
        ),
        (
            "from gemkr_hf.demo.app import _import_gradio\n_import_gradio()",
            "The demo needs gradio: pip install 'gemkr-hf[demo]'",
        ),
        (
            "from gemkr_hf.processing import import_ultralytics\nimport_ultralytics()",
            "The YOLO detector needs ultralytics (AGPL-3.0): pip install 'gemkr-hf[yolo]', or set "
            "processor.detector to a TransformersDetector, or give your own boxes (objects=...).",
        ),
    ],
)
def test_a_missing_extra_is_named(core, program, message) -> None:
    run = run_in(core, program)
    assert run.returncode != 0
    assert message in run.stderr.splitlines()[-1], run.stderr


def test_the_core_answers_questions(core, short_quickstart) -> None:
    """With given boxes; a checkpoint's YOLO, free text and an adapter name their extras."""
    program = """
import sys
from gemkr_hf import GeMKRRetriever
model, adapter, kb, image = (f"{sys.argv[1]}/{name}" for name in (
    "model", "training/adapter", "knowledge_base", "examples/scene-1.png"))
retriever = GeMKRRetriever.from_pretrained(model, knowledge_base=kb)
ask = lambda **settings: retriever.retrieve(image, "What does it mean?", k=2, **settings)
print(len(ask(objects=[(5, 5, 60, 60)])), "documents")
for failing in (
    lambda: ask(),
    lambda: ask(objects=[(5, 5, 60, 60)], strategy="free"),
    lambda: GeMKRRetriever.from_pretrained(adapter, knowledge_base=kb),
    lambda: GeMKRRetriever.from_pretrained(model, knowledge_base=kb, device_map="auto"),
):
    try:
        failing()
    except ImportError as error:
        print(str(error).rpartition(": pip install ")[2].split(",")[0], "-", str(error)[:20])
"""
    run = run_in(core, program, str(short_quickstart))
    assert run.stdout.splitlines() == [
        "2 documents",
        "'gemkr-hf[yolo]' - The YOLO detector ne",
        "'gemkr-hf[eval]' - strategy='free' need",
        "'gemkr-hf[train]' - Loading an adapter n",
        "'gemkr-hf[train]' - device_map needs acc",
    ], run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "none.yaml"], "pip install 'gemkr-hf[train]'"),
        (["evaluate", "table1"], "pip install 'gemkr-hf[eval]'"),
        (["quickstart"], "pip install 'gemkr-hf[quickstart]'"),
        (["data", "check", "--config", f"{ROOT}/configs/symbols.yaml"], "'gemkr-hf[quickstart]'"),
        (["retrieve", "--question", "Why?", "--beams", "b.png"], "pip install 'gemkr-hf[reports]'"),
        (["index", "inspect", "kb", "--plot", "p.png"], "pip install 'gemkr-hf[reports]'"),
        (["demo"], "pip install 'gemkr-hf[demo]'"),
    ],
)
def test_commands_name_a_missing_extra_in_one_sentence(core, arguments, message) -> None:
    run = run_in(core, f"from gemkr_hf.cli import app\napp({arguments!r})")
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("Error: ") and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr


def test_several_missing_modules_are_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(EXTRAS, "some", ("missing_a", "numpy", "missing_b", "missing_c"))
    with pytest.raises(MissingExtraError) as raised:
        require_extra("some", "This needs")
    assert str(raised.value) == (
        "This needs missing_a, missing_b and missing_c: pip install 'gemkr-hf[some]'"
    )
    require_extra("some", "This needs", "numpy")


def test_the_oldest_versions_are_tested() -> None:
    """`make test-oldest` runs on the lower bounds of pyproject.toml."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tested = dict(re.findall(r"(\w+)==([\d.]+)", makefile))
    bounds = {one.name: one.specifier for one in requirements()}
    assert set(tested) == {"transformers", "huggingface_hub"}
    for name, version in tested.items():
        [bound] = bounds[name]
        assert bound.operator == ">=" and version in (bound.version, f"{bound.version}.0")
