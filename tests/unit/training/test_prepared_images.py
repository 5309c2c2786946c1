"""Prepared images on disk: computed once, resumed, and recomputed for another model."""

import pickle

import pytest
import torch

from gemkr_hf.toy.stand_ins.assemble import load_processor, load_untuned_model
from gemkr_hf.training import prepared_images as module
from gemkr_hf.training.prepared_images import PreparedImages, prepare_images


@pytest.fixture(scope="module")
def model(data):
    return load_untuned_model(data.processor)


class Counted(dict):
    """Images that remember which were asked for."""

    def __init__(self, images) -> None:
        super().__init__({name: images[name] for name in list(images)[:8]})
        self.asked = []

    def __getitem__(self, name):
        self.asked.append(name)
        return super().__getitem__(name)


@pytest.fixture()
def images(data):
    return Counted(data.benchmark.images)


def prepare(images, names, data, model, folder, **options):
    return prepare_images(images, names, model, data.processor, folder, **options)


def test_they_are_those_of_the_processor_and_the_frozen_clip(data, model, images, tmp_path):
    names = list(images)
    made = prepare(images, [*names, names[0]], data, model, tmp_path, batch_size=3)
    assert list(made) == names
    batch = data.processor(
        images=[images[name] for name in names], return_objects=True, return_tensors="pt"
    )
    with torch.no_grad():
        features = model.get_object_features(batch["object_pixel_values"], batch["object_mask"])
    for row, name in enumerate(names):
        image = made[name]
        assert torch.equal(image.pixel_values, batch["pixel_values"][row].half())
        assert torch.equal(image.object_mask, batch["object_mask"][row])
        torch.testing.assert_close(image.object_features, features[row], rtol=1e-3, atol=2e-2)
        assert image.size == images[name].size == made.size_of(name)
        assert len(image.objects) == int(image.object_mask.sum())


def test_none_is_made_twice_and_more_are_added(data, model, images, tmp_path) -> None:
    names = list(images)
    prepare(images, names[:5], data, model, tmp_path)
    images.asked.clear()
    made = prepare(images, names, data, model, tmp_path)
    assert images.asked == names[5:]
    assert list(made) == names
    images.asked.clear()
    prepare(images, names, data, model, tmp_path)
    assert images.asked == []


def test_a_stopped_preparation_goes_on(data, model, images, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "SHARD", 2)
    names = list(images)
    broken = Counted(images)
    del broken[names[4]]
    with pytest.raises(KeyError):
        prepare(broken, names, data, model, tmp_path)
    assert list(PreparedImages(tmp_path)) == names[:4]
    images.asked.clear()
    assert list(prepare(images, names, data, model, tmp_path)) == names
    assert images.asked == names[4:]


def test_another_tower_or_processor_recomputes_them(data, model, images, tmp_path) -> None:
    names = list(images)[:2]
    before = prepare(images, names, data, model, tmp_path)[names[0]].object_features
    other = load_untuned_model(data.processor)
    with torch.no_grad():
        other.vision_tower.embeddings.class_embedding += 0.5
    after = prepare(images, names, data, other, tmp_path)[names[0]].object_features
    assert not torch.allclose(before, after)
    wide = load_processor()
    wide.object_margin = 0.3
    images.asked.clear()
    prepare_images(images, names, other, wide, tmp_path)
    assert images.asked == names


def test_they_go_to_other_processes(data) -> None:
    name = data.train["image_id"][0]
    assert data.prepared[name].pixel_values.dtype == torch.float16
    twin = pickle.loads(pickle.dumps(data.prepared))
    assert torch.equal(twin[name].pixel_values, data.prepared[name].pixel_values)
    with pytest.raises(KeyError):
        twin["nowhere"]
