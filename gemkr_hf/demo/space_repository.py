"""The demo as a Space on the Hub."""

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

from gemkr_hf import __version__
from gemkr_hf.demo.app import TITLE
from gemkr_hf.demo.demo_examples import EXAMPLES_FILE, read_examples
from gemkr_hf.hub.card_templates import CARD_FILE, render_card
from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan
from gemkr_hf.utils.hub_ids import check_repo_id

_APP = '''"""Serve the demo of {model}."""

from pathlib import Path

from gemkr_hf import GeMKRRetriever
from gemkr_hf.demo import build_app, read_examples, serve

retriever = GeMKRRetriever.from_pretrained({model!r}, knowledge_base={knowledge_base!r})
folder = Path(__file__).parent / "examples"
examples = read_examples(folder) if folder.is_dir() else ()
serve(build_app(retriever, examples, title={title!r}), port=None, host=None, wait=True)
'''


@dataclass(frozen=True)
class SpaceSettings:
    """Settings of a Space.

    Attributes:
        model: Hub id of a checkpoint or an adapter.
        knowledge_base: Hub id.
        title: title of the page.
        license: license of the Space's own files; Apache-2.0 if None.
    """

    model: str
    knowledge_base: str
    title: str = TITLE
    license: str | None = None


def plan_space(
    repo_id: str, settings: SpaceSettings, examples: str | Path | None = None
) -> UploadPlan:
    """Plan the upload of a Space.

    Args:
        repo_id: ``"owner/name"``.
        settings: what the Space shows.
        examples: folder of images with their questions, see `read_examples`.

    Raises:
        FileNotFoundError: the folder contains no examples.
        ValueError: the model or the knowledge base is not on the Hub.
    """
    for name in (settings.model, settings.knowledge_base):
        check_repo_id(name, local=False)
    values = {
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
        python_version="3.12",
        license=settings.license or "apache-2.0",
        models=[settings.model],
        datasets=[settings.knowledge_base],
        tags=["gemkr", "knowledge-retrieval"],
    )
    card = render_card("space.md", SpaceCard, data, name=repo_id, **values)
    contents: dict[str, str | Path] = {
        CARD_FILE: str(card),
        "app.py": _APP.format(**values),
        "requirements.txt": f"gemkr-hf[demo,train,yolo]>={__version__}\n",
    }
    if examples is not None:
        listed = read_examples(Path(examples))
        records = [{"image": path.name, "question": question} for path, question in listed]
        text = json.dumps(records, indent=2, ensure_ascii=False) + "\n"
        contents[f"examples/{EXAMPLES_FILE}"] = text
        contents |= {f"examples/{path.name}": path for path, _ in listed}
    files = tuple(
        PlannedFile(name, content if isinstance(content, Path) else content.encode())
        for name, content in contents.items()
    )
    return UploadPlan(repo_id, "space", files, owned=("examples/*",), message="Upload GeMKR demo")


__all__ = ["SpaceSettings", "plan_space"]
