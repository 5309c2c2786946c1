"""Images by their ids, from every layout."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
from PIL import Image

from gemkr_hf.data import ImageSource, open_images
from gemkr_hf.data.images import find_layout
from tests.unit.data.data_files import COLORS, image_bytes, write_images, write_tsv


def color(images: ImageSource, image_id: str) -> tuple[int, ...]:
    image = images[image_id]
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def write_dataset(folder: Path, split: bool = False) -> Path:
    images = [{"bytes": image_bytes(COLORS[key]), "path": None} for key in COLORS]
    dataset = datasets.Dataset.from_dict(
        {"image_id": list(COLORS), "image": images},
        features=datasets.Features(
            {"image_id": datasets.Value("string"), "image": datasets.Image()}
        ),
    )
    if split:
        parts = {"train": dataset.select([0]), "test": dataset.select([1, 2])}
        datasets.DatasetDict(parts).save_to_disk(folder)
    else:
        dataset.save_to_disk(folder)
    return folder


def write_parquet(folder: Path, name: str = "p.parquet") -> Path:
    folder.mkdir()
    dataset = datasets.load_from_disk(write_dataset(folder.parent / "for-parquet"))
    dataset.to_parquet(folder / name)
    return folder / name


LAYOUTS = {
    "folder": lambda path: write_images(path / "own"),
    "folder, deep": lambda path: write_images(path / "own", "a/b{0}/{0}.png"),
    "coco": lambda path: write_images(path / "c", "val2014/COCO_val2014_{:012d}.jpg"),
    "coco, 2017": lambda path: write_images(path / "c", "train2017/{:012d}.jpg"),
    "coco, one split": lambda path: (
        write_images(path, "val2014/COCO_val2014_{:012d}.jpg") / "val2014"
    ),
    "tsv": lambda path: write_tsv(path / "imgs.tsv", first=0),
    "tsv, no index": lambda path: write_tsv(path / "imgs.tsv", first=0, index=False),
    "dataset": lambda path: write_dataset(path / "saved"),
    "dataset, splits": lambda path: write_dataset(path / "saved", split=True),
    "dataset, parquet": lambda path: write_parquet(path / "p"),
    "dataset, folder of parquet": lambda path: write_parquet(path / "p").parent,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout(name: str, tmp_path: Path) -> None:
    source = str(LAYOUTS[name](tmp_path))
    assert find_layout(source) == name.split(",")[0]
    images = open_images(source)
    copy = pickle.loads(pickle.dumps(images))
    for key, expected in COLORS.items():
        assert key in images
        assert color(images, key) == pytest.approx(expected, abs=1)
        assert color(copy, key) == pytest.approx(expected, abs=1)
    for absent in ("77", "", "x", "1.gif2"):
        assert absent not in images
        assert images.get(absent) is None
    assert 1 not in images or "coco" in name
    assert len(images) == len(list(images)) == len(set(images.keys()))
    assert all(key in images for key in images)
    with pytest.raises(KeyError, match=r"Image '77' not found in"):
        images["77"]
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda key: color(images, key), list(COLORS) * 8))
    assert seen == [color(images, key) for key in list(COLORS) * 8]


@pytest.mark.parametrize(
    "image_id",
    [
        "1",
        "000000000001",
        "COCO_val2014_000000000001",
        "COCO_val2014_000000000001.jpg",
        "val2014/COCO_val2014_000000000001.jpg",
        "COCO_train2014_000000000001",
    ],
)
def test_ids_of_coco(image_id: str, tmp_path: Path) -> None:
    images = open_images(str(LAYOUTS["coco"](tmp_path)))
    assert color(images, image_id) == COLORS["1"] or color(images, image_id)[0] > 250


def test_names_in_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, "a/{}.png")
    write_images(tmp_path, "b/{}.jpg")
    (tmp_path / "b" / "3.jpg").unlink()
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "back").symlink_to(tmp_path)
    images = open_images(str(tmp_path), "folder")
    assert list(images) == ["a/1.png", "a/2.png", "a/3.png", "b/1.jpg", "b/2.jpg"]
    for name in ("a/1.png", "1.png", "b/1.jpg", "a\\1.png", "./a/1.png", "somewhere/1.jpg"):
        assert name in images
    assert "3" in images
    assert "1" not in images
    with pytest.raises(ValueError, match=r"Image '1' is ambiguous in .*'a/1.png' or 'b/1.jpg'"):
        images["1"]


def test_damaged_images_are_errors(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(image_bytes(COLORS["1"])[:40])
    images = open_images(str(tmp_path))
    with pytest.raises(ValueError, match=r"1\.png"):
        images["1"]
    path = write_tsv(tmp_path / "imgs.tsv", index=False)
    lines = path.read_text().splitlines()
    lines[1], lines[2] = "30000001\tno base64", "30000002\tYWJj"
    path.write_text("\n".join(lines))
    images = open_images(str(path))
    with pytest.raises(ValueError, match=r"'30000001' in line 2 of '.*tsv' is not valid base64"):
        images["30000001"]
    with pytest.raises(ValueError, match=r"'30000002' in line 3 of '.*imgs.tsv' is damaged"):
        images["30000002"]


def test_tsv_ids_that_are_not_line_numbers(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv", first=500)
    images = open_images(str(tmp_path), "tsv")
    assert list(images) == ["500", "501", "502", "503"]
    assert color(images, "503") == COLORS["3"]
    path.write_text("no tab\n" + path.read_text())
    path.with_suffix(".lineidx").unlink()
    with pytest.raises(ValueError, match=r"Line 1 of '.*imgs.tsv' is not 'id<TAB>base64'"):
        list(open_images(str(path)))


@pytest.mark.parametrize(
    "index", ["", "0\n", "0\n5\n9\n12\n", "1\n2\n3\n4\n", "0\n999999\n", "0\n9\n5\n12\n"]
)
def test_a_stale_index_is_an_error(index: str, tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv")
    path.with_suffix(".lineidx").write_text(index)
    with pytest.raises(ValueError, match=r"The index '.*lineidx' does not match '.*imgs.tsv'"):
        open_images(str(path))


def test_sources_without_images(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv")
    path.with_suffix(".lineidx").write_text("0\nx\n")
    with pytest.raises(ValueError, match=r"Line 2 of '.*imgs.lineidx' is not a byte offset"):
        open_images(str(path))
    with pytest.raises(FileNotFoundError, match=r"Images not found: .*'nowhere'"):
        open_images("nowhere")
    with pytest.raises(FileNotFoundError, match=r"Folder not found: 'nowhere'"):
        open_images("nowhere", "coco")
    with pytest.raises(ValueError, match=r"image_layout must be one of"):
        open_images("nowhere", "zip")
    (tmp_path / "empty").mkdir()
    for layout in ("auto", "folder", "coco"):
        with pytest.raises(ValueError, match=r"No images .*found in '.*empty'"):
            open_images(str(tmp_path / "empty"), layout)
    with pytest.raises(ValueError, match=r"contains 0 TSV files"):
        open_images(str(tmp_path / "empty"), "tsv")
    (tmp_path / "p.zip").write_text("x")
    with pytest.raises(ValueError, match=r"'.*p.zip' does not contain images"):
        open_images(str(tmp_path / "p.zip"))
    (tmp_path / "none.tsv").touch()
    with pytest.raises(ValueError, match=r"No images found in '.*none.tsv'"):
        open_images(str(tmp_path / "none.tsv"))
    datasets.Dataset.from_dict({"image_id": ["1"]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"No column 'image' in '.*', which has image_id"):
        open_images(str(tmp_path / "p.parquet"))


def test_images_become_upright_and_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 9), 7).save(tmp_path / "gray.png")
    assert open_images(str(tmp_path))["gray"].mode == "RGB"
