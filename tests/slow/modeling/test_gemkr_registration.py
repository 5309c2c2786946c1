"""`import gemkr_hf.auto` is enough for the auto classes; `import gemkr_hf` stays light."""

import ast
import os
import re
import subprocess
import sys

import pytest

from tests.project import python_path

OURS = ["import gemkr_hf.auto"]
THEIRS = ["from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText"]
LOADS = {
    "model": "AutoModel.from_pretrained(folder, **options)",
    "task": "AutoModelForImageTextToText.from_pretrained(folder, **options)",
    "config": "AutoConfig.from_pretrained(folder, **options)",
    "processor": "AutoProcessor.from_pretrained(folder, **options)",
}


def run(lines, *arguments, scratch):
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": python_path(),
            "HF_MODULES_CACHE": str(scratch / "modules"),
            "HF_HUB_OFFLINE": "1",
        },
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    from transformers import CLIPImageProcessor, PreTrainedTokenizerFast

    from gemkr_hf.processing import GeMKRProcessor, add_image_tokens

    folder = tmp_path_factory.mktemp("checkpoint")
    tiny.gemkr().save_pretrained(folder)
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    add_image_tokens(tokenizer)
    GeMKRProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", ["{}", "{'trust_remote_code': True}"])
@pytest.mark.parametrize("first", ["ours", "theirs", "processor"])
def test_auto_classes_load_the_installed_classes(checkpoint, tmp_path, first, options):
    head = {
        "ours": [*OURS, *THEIRS, "from transformers import AutoProcessor"],
        "theirs": [*THEIRS, "from transformers import AutoProcessor", *OURS],
        "processor": ["from transformers import AutoProcessor", *OURS, *THEIRS],
    }[first]
    loads = dict(reversed(LOADS.items())) if first == "processor" else LOADS
    program = [*head, f"import sys; folder = sys.argv[1]; options = {options}"]
    program += [f"loaded = {load}; print(type(loaded).__module__)" for load in loads.values()]
    program += [
        "import gemkr_hf.modeling, gemkr_hf.processing",
        "known = (gemkr_hf.GeMKRProcessor, gemkr_hf.GeMKRConfig, gemkr_hf.GeMKRForRetrieval)",
        "assert type(loaded) in known, type(loaded)",
        "from transformers import CONFIG_MAPPING",
        "assert CONFIG_MAPPING['gemkr'] is gemkr_hf.GeMKRConfig",
    ]
    modules = run(program, checkpoint, scratch=tmp_path)
    assert len(modules) == 4 and all(module.startswith("gemkr_hf.") for module in modules), modules


def test_the_import_stays_light(tmp_path):
    heavy = "{'transformers', 'torch', 'numpy', 'gemkr_hf.modeling'}"
    program = ["import sys, gemkr_hf", f"print(*({heavy} & set(sys.modules)), 'nothing')"]
    assert run(program, scratch=tmp_path) == ["nothing"]


def test_installed_classes_imported_first(checkpoint, tmp_path):
    program = [
        "import sys",
        "from gemkr_hf import GeMKRForRetrieval, GeMKRProcessor",
        "from transformers import AutoModel, AutoProcessor",
        "assert type(AutoModel.from_pretrained(sys.argv[1])) is GeMKRForRetrieval",
        "assert type(AutoProcessor.from_pretrained(sys.argv[1])) is GeMKRProcessor",
        "print(1)",
    ]
    assert run(program, checkpoint, scratch=tmp_path) == ["1"]


# PyYAML is a dependency of transformers.
ALLOWED = {"torch", "transformers", "numpy", "PIL", "safetensors", "yaml", *sys.stdlib_module_names}


def test_eight_short_files_travel_with_a_checkpoint(checkpoint):
    """Users who trust remote code read them first: few, short, and closed."""
    files = list(checkpoint.glob("*.py"))
    assert {path.name for path in files} == {
        "configuration_gemkr.py", "modeling_gemkr.py", "vision_gemkr.py", "generation_gemkr.py",
        "pipeline_gemkr.py", "processing_gemkr.py", "images_gemkr.py", "detection_gemkr.py",
    }  # fmt: skip
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert sum(len(text.splitlines()) for text in texts.values()) < 4100
    for name, text in texts.items():
        assert not re.search(r"import.*gemkr_hf|[\"']gemkr_hf", text), name
        tree = ast.parse(text)
        tried = (node for node in ast.walk(tree) if isinstance(node, ast.Try))
        optional = {inner for node in tried for part in node.body for inner in ast.walk(part)}
        for node in set(ast.walk(tree)) - optional:
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED, name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.split(".")[0] in ALLOWED, name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 and f"{node.module}.py" in texts, name


def test_a_checkpoints_own_code_names_what_the_library_adds(checkpoint, tmp_path):
    program = [
        "import sys; sys.modules['gemkr_hf'] = None",
        "from transformers import AutoModel",
        "model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)",
        "for call in (model.lora_arguments, model.config.from_preset):",
        "    try: call()",
        "    except ImportError as error: print('pip install gemkr-hf' in str(error))",
    ]
    assert run(program, checkpoint, scratch=tmp_path) == ["True", "True"]


def test_the_old_names_of_images_still_work():
    from gemkr_hf import processing

    for old, new in (("load_picture", "load_image"), ("Picture", "ImageInput")):
        with pytest.warns(FutureWarning, match=f"{old}' is deprecated: use '{new}'"):
            assert getattr(processing, old) is getattr(processing, new)
    with pytest.raises(AttributeError):
        _ = processing.load_pictures
