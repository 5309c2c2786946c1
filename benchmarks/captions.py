"""Measure how much of an image the caption model of Table 1 describes (docs/evaluation.md).

    gemkr evaluate table1 --system bm25-caption --seed 0
    python benchmarks/captions.py

Text-only systems know nothing of an image but its caption. This prints the share of objects in the
images of a split whose symbol the caption names, and of those whose colour precedes the name, as
in a scene's own caption.
"""

import argparse
import json
from pathlib import Path

from gemkr_hf.toy.symbols import SymbolsConfig, load_symbols


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--captions", default="runs/evaluation/captions/trained.json", type=Path)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    written = json.loads(arguments.captions.read_text(encoding="utf-8"))
    images = {
        record["image_id"]: record
        for record in load_symbols(SymbolsConfig())[arguments.split].remove_columns("image")
    }
    objects = named = colored = 0
    for name, record in images.items():
        caption = written[name].lower()
        for item in record["objects"]:
            objects += 1
            named += item["symbol"].lower() in caption
            colored += f"{item['color']} {item['symbol']}".lower() in caption
    print(f"{len(images)} images of {arguments.split}, {objects} objects")
    print(f"named: {named / objects:.1%}, with the colour: {colored / objects:.1%}")
    first = next(iter(images))
    print(f"for example: {images[first]['caption']}\n    written: {written[first]}")


if __name__ == "__main__":
    main()
