"""Images in a column of a dataset."""

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
    """Images of a dataset with the columns `image_id` and `image`.

    Args:
        dataset: The dataset.
        name: Its location, for messages.

    Raises:
        ValueError: If a column is missing.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self.name = name
        for column in (ID, IMAGE):
            if column not in dataset.column_names:
                raise ValueError(
                    f"No column '{column}' in '{name}', which has {', '.join(dataset.column_names)}"
                )
        dataset = dataset.select_columns([ID, IMAGE])
        if isinstance(dataset.features[IMAGE], datasets.Image):
            # Decoded by load_image, so that errors name the row.
            dataset = dataset.cast_column(IMAGE, datasets.Image(decode=False))
        self._dataset = dataset
        self._rows: dict[str, int] = {}
        for row, image_id in enumerate(dataset[ID]):
            self._rows.setdefault(str(image_id), row)

    @classmethod
    def open(cls, source: str) -> "DatasetImages":
        """Open a Parquet file, a folder of them, or a dataset (all splits), saved or on the Hub."""
        path = Path(source)
        parts = sorted(path.glob("**/*.parquet")) if path.is_dir() else []
        if path.suffix.lower() == ".parquet" and not path.is_dir():
            if not path.is_file():
                raise FileNotFoundError(f"File not found: '{source}'")
            parts = [path]
        if not parts:
            return cls(open_dataset(source), source)
        return cls(datasets.concatenate_datasets([read_dataset(part) for part in parts]), source)

    def __getitem__(self, image_id: str) -> Image.Image:
        if image_id not in self._rows:
            raise KeyError(self.missing(image_id))
        row = self._rows[image_id]
        try:
            return load_image(self._dataset[row][IMAGE])
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"Image '{image_id}' in row {row} of '{self.name}' is damaged: {error}"
            ) from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


__all__ = ["DatasetImages"]
