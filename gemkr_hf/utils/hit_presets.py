"""The hit presets: when a retrieved document counts as a hit.

Every paper has its own definition, and results of two presets cannot be compared, so the name of
the preset is printed beside every figure. `gemkr_hf.evaluation.hits` implements them.
"""

from gemkr_hf.utils.deprecation import warn_renamed

GOLD = "gold"
"""The preset that compares ids; all others look for answers in texts."""

HIT_PRESETS: dict[str, str] = {
    "gold": "the document's id is among the relevant ids",
    "vrr": "an answer, as written, is part of the lowercased text (Luo et al. 2021)",
    "dpr": "an answer's tokens are consecutive in the text's, uncased, NFD (Karpukhin et al. 2020)",
    "preflmr": "an answer is part of the text, both lowercased and stripped (Lin et al. 2024)",
    "word": "an answer occurs in the text as whole words, uncased",
    "gemkr": "an answer is part of the text, case-sensitive, after duplicate documents are removed "
    "(the released code of GeMKR)",
}
"""Name -> definition. The text is a document's ``text``, without its title."""

_OLD_NAMES = {"answer": "vrr"}


def check_preset(name: str) -> str:
    """Check the name of a hit preset, and return it: the new name if it is a deprecated one.

    Raises:
        ValueError: If the name is unknown.
    """
    if name in _OLD_NAMES:
        warn_renamed(name, _OLD_NAMES[name])
        return _OLD_NAMES[name]
    if name not in HIT_PRESETS:
        raise ValueError(f"Unknown hit preset '{name}': choose {', '.join(HIT_PRESETS)}")
    return name


__all__ = ["GOLD", "HIT_PRESETS", "check_preset"]
