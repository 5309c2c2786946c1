"""Install the wheel into an empty environment: the core, each extra, and all of them.

    python benchmarks/installation.py
    python benchmarks/installation.py core train --python python3.13

For each, a virtual environment is made, the wheel is installed with pip, and a short program uses
what the extra is for. Seconds, size and number of packages are printed as a Markdown table.
Packages that pip has downloaded before come from its cache. `index` is the package without its
dependencies, and the four that the FM-index needs.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

INDEX = """
from gemkr_hf import FMIndex
index = FMIndex.build([[3, 1, 4, 1, 5], [9, 2, 6, 1, 5]])
assert index.lookup_doc([[4, 1], [1, 5]]).tolist() == [0, -1]
"""
CORE = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from gemkr_hf import FMIndex, FMIndexConstraint
index = FMIndex.build([[5, 6, 7, 8, 9], [5, 6, 10, 11, 12], [13, 14, 15, 16]])
constraint = FMIndexConstraint(index, eos_token_id=2, min_length=1, max_length=5)
config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                     num_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
prompt = torch.tensor([[1, 20, 21]])
clue = LlamaForCausalLM(config).generate(prompt, logits_processor=[constraint], num_beams=3,
                                         max_new_tokens=6)[0, 3:]
assert index.lookup_doc([[token for token in clue.tolist() if token not in (0, 2)]])[0] >= 0
"""
TRAIN = "import gemkr_hf.training.training_run\n"
EVAL = """
import gemkr_hf.paper.tables
from gemkr_hf.evaluation.significance import bootstrap_interval, p_value
from gemkr_hf.knowledge_base.best_match import BestMatch
assert BestMatch(["red tower", "blue boat"])(["boat"])[0][0, 0] == 1
assert p_value([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]) > 0.05
assert bootstrap_interval([0.0, 1.0]).mean == 0.5
"""
YOLO = """
from PIL import Image
from gemkr_hf.processing import YoloDetector
assert len(YoloDetector("yolov8n.yaml").detect([Image.new("RGB", (64, 64))])) == 1
"""
REPORTS = """
import tensorboard, trackio
from gemkr_hf.utils.figures import new_figure
new_figure(1, 1).subplots()
"""
QUICKSTART = """
from gemkr_hf.toy.quickstart import run_quickstart
from gemkr_hf.toy.stand_ins.assemble import load_processor
from gemkr_hf.toy.symbols.glyphs import glyph_mask
load_processor().detector.detect([glyph_mask("A").convert("RGB")])
"""
PREFERENCES = "from trl import DPOTrainer\nimport gemkr_hf.training.preferences\n"
PROGRAMS = {
    "index": INDEX,
    "core": CORE,
    "yolo": YOLO,
    "train": TRAIN,
    "eval": EVAL,
    "demo": "import gradio\nfrom gemkr_hf.demo import build_app\n",
    "reports": REPORTS,
    "quantization": "import accelerate, bitsandbytes\n",
    "preferences": PREFERENCES,
    "encoders": "import sentence_transformers\n",
    "quickstart": QUICKSTART,
}
PROGRAMS["all"] = "".join(dict.fromkeys(PROGRAMS.values()))
FOUR = ("numpy", "numba", "pydivsufsort", "safetensors")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return its output; its errors are shown if it fails."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd
    )
    if result.returncode:
        raise SystemExit(result.stdout + result.stderr)
    return result.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the checkout."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


def measure(name: str, wheel: Path, python: str, folder: Path) -> tuple[float, int, int]:
    """Install one choice and try it.

    Returns:
        Seconds of the installation, size of the environment in bytes, number of packages.
    """
    environment = folder / "environment"
    run(python, "-m", "venv", environment)
    own = environment / ("Scripts" if platform.system() == "Windows" else "bin") / "python"
    run(own, "-m", "pip", "install", "--quiet", "--upgrade", "pip")
    start = time.perf_counter()
    if name == "index":
        run(own, "-m", "pip", "install", "--quiet", *FOUR)
        run(own, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    else:
        extra = "" if name == "core" else f"[{name}]"
        run(own, "-m", "pip", "install", "--quiet", f"{wheel}{extra}")
    seconds = time.perf_counter() - start
    run(own, "-c", PROGRAMS[name], cwd=folder)
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    packages = run(own, "-m", "pip", "list", "--format=freeze").splitlines()
    size = sum(path.stat().st_size for path in files)
    shutil.rmtree(environment)
    return seconds, size, len(packages)


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PROGRAMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose {', '.join(PROGRAMS)}")
    version = run(arguments.python, "--version").strip()
    print(f"{version}, {processor()}\n")
    print("| extra | seconds | GB | packages |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for name in arguments.names or PROGRAMS:
            seconds, size, packages = measure(name, wheel, arguments.python, Path(folder))
            print(f"| {name} | {seconds:.0f} | {size / 1e9:.2f} | {packages} |", flush=True)


if __name__ == "__main__":
    main()
