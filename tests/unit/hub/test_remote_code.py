"""Code of a checkpoint is executed only if the caller asks for it."""

import json

import pytest

from gemkr_hf import GeMKRRetriever, KnowledgeBase
from gemkr_hf.modeling import KnowledgeRetrievalPipeline
from gemkr_hf.toy.stand_ins.assemble import load_processor

CODE = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import PretrainedConfig
class OwnConfig(PretrainedConfig):
    model_type = "own"
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of another kind, whose code leaves a file ``ran`` when it is executed."""
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr("sys.stdin", None)  # nobody to ask
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "own.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    names = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own", "AutoProcessor": "own.Own"}
    for file in ("config.json", "processor_config.json"):
        (folder / file).write_text(json.dumps({"model_type": "own", "auto_map": names}))
    return folder


@pytest.fixture(scope="module")
def knowledge_base() -> KnowledgeBase:
    documents = [{"id": "1", "text": "A ram stands for Aries."}]
    return KnowledgeBase.from_documents(documents, load_processor().tokenizer)


def test_the_retriever_executes_no_code_of_a_checkpoint(
    checkpoint, knowledge_base, tmp_path
) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        GeMKRRetriever.from_pretrained(checkpoint, knowledge_base)
    assert not (tmp_path / "ran").exists()


def test_the_retriever_executes_it_if_the_caller_asks(checkpoint, knowledge_base, tmp_path) -> None:
    with pytest.raises(AttributeError):  # the code has no model
        GeMKRRetriever.from_pretrained(checkpoint, knowledge_base, trust_remote_code=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("module", ["gemkr_hf.modeling", "transformers_modules.other"])
def test_the_pipeline_executes_no_code_of_a_processor(
    checkpoint, knowledge_base, tmp_path, module
) -> None:
    """Nor if the model is of trusted remote code: the processor is of another repository."""

    class Model:
        name_or_path = "checkpoint"

    Model.__module__ = module
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        KnowledgeRetrievalPipeline(Model(), str(checkpoint), knowledge_base)
    assert not (tmp_path / "ran").exists()
