"""The interface of all image sources."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from PIL import Image


class ImageSource(Mapping[str, Image.Image]):
    """Read-only mapping from image id to image; images are loaded on access, upright and in RGB.

    ``id in images`` does not load an image. Instances can be pickled and used from several threads,
    as no files are kept open.

    Attributes:
        name: Location of the images, for messages.
    """

    name: str
    # Mapping's own comparison would load every image.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @abstractmethod
    def __getitem__(self, image_id: str) -> Image.Image:
        """Load an image.

        Raises:
            KeyError: If there is no image with this id.
            ValueError: If the image is damaged, with its file or line; or if the id is ambiguous.
        """

    @abstractmethod
    def __contains__(self, image_id: object) -> bool:
        """Return whether the id refers to exactly one image."""

    def key_of(self, image_id: str) -> str:
        """Map all ids of one image to the same key; unknown ids are returned unchanged."""
        return image_id

    def missing(self, image_id: str) -> str:
        """Return a sentence that says why an id does not refer to an image."""
        return f"Image '{image_id}' not found in '{self.name}'"

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.name}')"


class NoImages(ImageSource):
    """An empty source, for configurations without images."""

    name = "no images"

    def __getitem__(self, image_id: str) -> Image.Image:
        raise KeyError(self.missing(image_id))

    def __contains__(self, image_id: object) -> bool:
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def missing(self, image_id: str) -> str:
        return f"Image '{image_id}' not found: the configuration has no images"


__all__ = ["ImageSource", "NoImages"]
