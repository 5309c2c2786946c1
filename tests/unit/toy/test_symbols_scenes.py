import numpy as np
import pytest

from gemkr_hf.toy.symbols.symbol_documents import load_known_symbols
from gemkr_hf.toy.symbols.symbol_questions import ask, traits_that_pick
from gemkr_hf.toy.symbols.symbol_scenes import LARGE_OBJECT, PLACES, SCENE_SIZE, draw_scene


def scenes(number: int):
    symbols = load_known_symbols()
    for seed in range(number):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(symbols))[: seed % 4 + 1]
        yield draw_scene([symbols[row] for row in rows], rng), rng


def test_boxes_hold_the_ink_and_agree_with_place_and_size() -> None:
    for scene, _ in scenes(60):
        pixels = np.asarray(scene.image, dtype=np.float32)
        background = np.median(pixels.reshape(-1, 3), axis=0)
        outside = np.ones(pixels.shape[:2], dtype=bool)
        for item in scene.objects:
            left, top, right, bottom = item.box
            assert 0 <= left < right <= SCENE_SIZE and 0 <= top < bottom <= SCENE_SIZE
            inside = pixels[top:bottom, left:right]
            assert np.abs(inside - background).max() > 60  # something is drawn there
            outside[top:bottom, left:right] = False
            vertical = "top" if (top + bottom) / 2 < SCENE_SIZE / 2 else "bottom"
            horizontal = "left" if (left + right) / 2 < SCENE_SIZE / 2 else "right"
            assert item.place == f"{vertical} {horizontal}"
            share = np.sqrt((right - left) * (bottom - top)) / SCENE_SIZE
            assert item.size == ("large" if share >= LARGE_OBJECT else "small")
        # Paper and noise only: far from any ink.
        assert np.abs(pixels[outside] - background).max(axis=-1).mean() < 40
        assert len({item.place for item in scene.objects}) == len(scene.objects)


def test_objects_of_a_scene_do_not_overlap() -> None:
    for scene, _ in scenes(60):
        for row, one in enumerate(scene.objects):
            for other in scene.objects[row + 1 :]:
                apart = (
                    one.box[2] <= other.box[0]
                    or other.box[2] <= one.box[0]
                    or one.box[3] <= other.box[1]
                    or other.box[3] <= one.box[1]
                )
                assert apart


def test_a_scene_shows_one_to_four_symbols() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"1 to {len(PLACES)} symbols, got 0"):
        draw_scene([], rng)


def test_questions_never_name_the_symbol_and_pick_one_object() -> None:
    for scene, rng in scenes(60):
        for target in scene.objects:
            question = ask(target, scene.objects, "use", rng)
            assert target.symbol.name.lower() not in question.text.lower()
            assert question.by in traits_that_pick(target, scene.objects)
            if question.by in ("color", "place", "size"):
                value = getattr(target, question.by)
                assert value in question.text
                sharing = [o for o in scene.objects if getattr(o, question.by) == value]
                assert sharing == [target]
