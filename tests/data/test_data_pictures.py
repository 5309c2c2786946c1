"""Pictures by their ids, from every layout."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
from data_files import COLORS, picture_bytes, write_pictures, write_tsv
from PIL import Image

from gemkr_hf.data import Pictures, open_pictures
from gemkr_hf.data.pictures import find_layout


def color(pictures: Pictures, image_id: str) -> tuple[int, ...]:
    picture = pictures[image_id]
    assert picture.mode == "RGB"
    return picture.getpixel((0, 0))


def write_dataset(folder: Path, split: bool = False) -> Path:
    pictures = [{"bytes": picture_bytes(COLORS[key]), "path": None} for key in COLORS]
    dataset = datasets.Dataset.from_dict(
        {"image_id": list(COLORS), "image": pictures},
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
    "folder": lambda path: write_pictures(path / "own"),
    "folder, deep": lambda path: write_pictures(path / "own", "a/b{0}/{0}.png"),
    "coco": lambda path: write_pictures(path / "c", "val2014/COCO_val2014_{:012d}.jpg"),
    "coco, 2017": lambda path: write_pictures(path / "c", "train2017/{:012d}.jpg"),
    "coco, one split": lambda path: (
        write_pictures(path, "val2014/COCO_val2014_{:012d}.jpg") / "val2014"
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
    pictures = open_pictures(source)
    copy = pickle.loads(pickle.dumps(pictures))
    for key, expected in COLORS.items():
        assert key in pictures
        assert color(pictures, key) == pytest.approx(expected, abs=1)
        assert color(copy, key) == pytest.approx(expected, abs=1)
    for absent in ("77", "", "x", "1.gif2"):
        assert absent not in pictures
        assert pictures.get(absent) is None
    assert 1 not in pictures or "coco" in name
    assert len(pictures) == len(list(pictures)) == len(set(pictures.keys()))
    assert all(key in pictures for key in pictures)
    with pytest.raises(KeyError, match=r"There is no picture '77' in"):
        pictures["77"]
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda key: color(pictures, key), list(COLORS) * 8))
    assert seen == [color(pictures, key) for key in list(COLORS) * 8]


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
    pictures = open_pictures(str(LAYOUTS["coco"](tmp_path)))
    assert color(pictures, image_id) == COLORS["1"] or color(pictures, image_id)[0] > 250


def test_names_in_a_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a/{}.png")
    write_pictures(tmp_path, "b/{}.jpg")
    (tmp_path / "b" / "3.jpg").unlink()
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "back").symlink_to(tmp_path)
    pictures = open_pictures(str(tmp_path), "folder")
    assert list(pictures) == ["a/1.png", "a/2.png", "a/3.png", "b/1.jpg", "b/2.jpg"]
    for name in ("a/1.png", "1.png", "b/1.jpg", "a\\1.png", "./a/1.png", "somewhere/1.jpg"):
        assert name in pictures
    assert "3" in pictures
    assert "1" not in pictures
    with pytest.raises(ValueError, match=r"'1' could be 'a/1.png' or 'b/1.jpg' in .*: name the"):
        pictures["1"]


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture_bytes(COLORS["1"])[:40])
    pictures = open_pictures(str(tmp_path))
    with pytest.raises(ValueError, match=r"1\.png"):
        pictures["1"]
    path = write_tsv(tmp_path / "imgs.tsv", index=False)
    lines = path.read_text().splitlines()
    lines[1], lines[2] = "30000001\tno base64", "30000002\tYWJj"
    path.write_text("\n".join(lines))
    pictures = open_pictures(str(path))
    with pytest.raises(ValueError, match=r"'30000001' in line 2 of '.*imgs.tsv' is no base64"):
        pictures["30000001"]
    with pytest.raises(ValueError, match=r"'30000002' in line 3 of '.*imgs.tsv' is broken"):
        pictures["30000002"]


def test_tsv_ids_that_are_no_places_of_lines(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv", first=500)
    pictures = open_pictures(str(tmp_path), "tsv")
    assert list(pictures) == ["500", "501", "502", "503"]
    assert color(pictures, "503") == COLORS["3"]
    path.write_text("no tab\n" + path.read_text())
    path.with_suffix(".lineidx").unlink()
    with pytest.raises(ValueError, match=r"Line 1 of '.*imgs.tsv' is no 'id<TAB>base64'"):
        list(open_pictures(str(path)))


@pytest.mark.parametrize(
    "index", ["", "0\n", "0\n5\n9\n12\n", "1\n2\n3\n4\n", "0\n999999\n", "0\n9\n5\n12\n"]
)
def test_a_stale_index_is_told(index: str, tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv")
    path.with_suffix(".lineidx").write_text(index)
    with pytest.raises(ValueError, match=r"The index '.*lineidx' does not belong to '.*imgs.tsv'"):
        open_pictures(str(path))


def test_what_holds_no_pictures(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "imgs.tsv")
    path.with_suffix(".lineidx").write_text("0\nx\n")
    with pytest.raises(ValueError, match=r"Line 2 of '.*imgs.lineidx' is no byte offset"):
        open_pictures(str(path))
    with pytest.raises(FileNotFoundError, match=r"There are no pictures at 'nowhere'"):
        open_pictures("nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no folder 'nowhere'"):
        open_pictures("nowhere", "coco")
    with pytest.raises(ValueError, match=r"picture_layout is one of"):
        open_pictures("nowhere", "zip")
    (tmp_path / "empty").mkdir()
    for layout in ("auto", "folder", "coco"):
        with pytest.raises(ValueError, match=r"There is no picture in '.*empty'"):
            open_pictures(str(tmp_path / "empty"), layout)
    with pytest.raises(ValueError, match=r"There are 0 TSV files in"):
        open_pictures(str(tmp_path / "empty"), "tsv")
    (tmp_path / "p.zip").write_text("x")
    with pytest.raises(ValueError, match=r"'.*p.zip' holds no pictures"):
        open_pictures(str(tmp_path / "p.zip"))
    (tmp_path / "none.tsv").touch()
    with pytest.raises(ValueError, match=r"There is no picture in '.*none.tsv'"):
        open_pictures(str(tmp_path / "none.tsv"))
    datasets.Dataset.from_dict({"image_id": ["1"]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"There is no column 'image' in '.*': there are image_id"):
        open_pictures(str(tmp_path / "p.parquet"))


def test_pictures_become_upright_and_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 9), 7).save(tmp_path / "gray.png")
    assert open_pictures(str(tmp_path))["gray"].mode == "RGB"
