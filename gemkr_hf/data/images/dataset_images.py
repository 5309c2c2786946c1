"""Images in a column of a data set."""

from collections.abc import Iterator
from pathlib import Path

import datasets
from PIL import Image

from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.knowledge_base.document_sources import open_dataset
from gemkr_hf.knowledge_base.document_tables import read_dataset
from gemkr_hf.processing import load_image

ID, IMAGE = "image_id", "image"


class DatasetImages(ImageSource):
    """Images of a data set with the columns `image_id` and `image`, of all its splits.

    Args:
        dataset: the data set.
        name: where it is, for messages.

    Raises:
        ValueError: if it lacks a column.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self.name = name
        for column in (ID, IMAGE):
            if column not in dataset.column_names:
                raise ValueError(
                    f"There is no column '{column}' in '{name}': there are "
                    f"{', '.join(dataset.column_names)}"
                )
        dataset = dataset.select_columns([ID, IMAGE])
        if isinstance(dataset.features[IMAGE], datasets.Image):
            # What is broken is then told with its row, and no image is decoded twice.
            dataset = dataset.cast_column(IMAGE, datasets.Image(decode=False))
        self._dataset = dataset
        self._rows: dict[str, int] = {}
        for row, image_id in enumerate(dataset[ID]):
            self._rows.setdefault(str(image_id), row)

    @classmethod
    def open(cls, source: str) -> "DatasetImages":
        """Images of a Parquet file, a folder of such, a saved data set, or one on the Hub."""
        path = Path(source)
        parts = sorted(path.glob("**/*.parquet")) if path.is_dir() else []
        if path.suffix.lower() == ".parquet" and not path.is_dir():
            if not path.is_file():
                raise FileNotFoundError(f"There is no file '{source}'")
            parts = [path]
        if parts:
            return cls(
                datasets.concatenate_datasets([read_dataset(part) for part in parts]), source
            )
        return cls(open_dataset(source), source)

    def __getitem__(self, image_id: str) -> Image.Image:
        if image_id not in self._rows:
            raise KeyError(self.missing(image_id))
        row = self._rows[image_id]
        try:
            return load_image(self._dataset[row][IMAGE])
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"The image '{image_id}' in row {row} of '{self.name}' is broken: {error}"
            ) from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


__all__ = ["DatasetImages"]
