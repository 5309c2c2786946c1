"""The demo as a Space on the Hub."""

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

from gemkr_hf import __version__
from gemkr_hf.demo.demo_examples import EXAMPLES_FILE, read_examples
from gemkr_hf.hub.card_templates import fill
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan
from gemkr_hf.hub.uploader import check_repo_id

_APP = '''"""Serves the demo of {model}."""

from pathlib import Path

from gemkr_hf import GeMKRRetriever
from gemkr_hf.demo import build_app, read_examples, serve

retriever = GeMKRRetriever.from_pretrained({model!r}, knowledge_base={knowledge_base!r})
folder = Path(__file__).parent / "examples"
examples = read_examples(folder) if folder.is_dir() else ()
serve(build_app(retriever, examples, title={title!r}), port=None, host=None, wait=True)
'''
_PYTHON = "3.12"


@dataclass(frozen=True)
class SpaceSettings:
    """What a Space shows.

    Attributes:
        model: Hub id of a checkpoint or an adapter.
        knowledge_base: Hub id.
        title: of the page.
        license: of the Space's own files; Apache-2.0 where None.
    """

    model: str
    knowledge_base: str
    title: str = "Ask about an image"
    license: str | None = None


def plan_space(
    repo_id: str, settings: SpaceSettings, examples: str | Path | None = None
) -> UploadPlan:
    """What ``gemkr push space`` would upload.

    Args:
        repo_id: "owner/name".
        settings: what it shows.
        examples: folder of images with their questions, see `read_examples`.

    Raises:
        FileNotFoundError: there are no examples in the folder.
        ValueError: a name that is none on the Hub.
    """
    for name in (repo_id, settings.model, settings.knowledge_base):
        if Path(name).exists():
            raise ValueError(f"'{name}' is a folder: a Space loads what is on the Hub")
        check_repo_id(name)
    facts = {
        "name": repo_id,
        "title": settings.title,
        "model": settings.model,
        "knowledge_base": settings.knowledge_base,
    }
    data = SpaceCardData(
        title=settings.title[:60],
        emoji="🔎",
        colorFrom="green",
        colorTo="blue",
        sdk="gradio",
        app_file="app.py",
        python_version=_PYTHON,
        license=settings.license or "apache-2.0",
        models=[settings.model],
        datasets=[settings.knowledge_base],
        tags=["gemkr", "knowledge-retrieval"],
    )
    card = fill("space.md", SpaceCard, data, **facts)
    requirements = f"gemkr-hf[demo]>={__version__}\n"
    files = [
        PlannedFile("README.md", str(card).encode()),
        PlannedFile("app.py", _APP.format(**facts).encode()),
        PlannedFile("requirements.txt", requirements.encode()),
    ]
    if examples is not None:
        files += _examples(Path(examples))
    return UploadPlan(
        repo_id,
        "space",
        tuple(files),
        owned=("examples/*",),
        message="Upload GeMKR demo",
    )


def _examples(folder: Path) -> list[PlannedFile]:
    """Images and their questions, as `read_examples` finds them again."""
    examples = read_examples(folder)
    listed = [{"image": path.name, "question": question} for path, question in examples]
    text = json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    images = {path.name: path for path, _ in examples}
    return [
        PlannedFile(f"examples/{EXAMPLES_FILE}", text.encode()),
        *(PlannedFile(f"examples/{name}", path) for name, path in sorted(images.items())),
    ]


__all__ = ["SpaceSettings", "plan_space"]
