"""What all sources of images share."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from PIL import Image


class ImageSource(Mapping[str, Image.Image]):
    """Images by their ids, read-only, each loaded when it is asked for: upright and in RGB.

    `id in images` reads no image. Images go to other processes and threads: nothing is kept
    open.

    Attributes:
        name: where they are, for messages.
    """

    name: str
    # A mapping's own would load and compare every image.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @abstractmethod
    def __getitem__(self, image_id: str) -> Image.Image:
        """Load an image.

        Raises:
            KeyError: if there is none with this id.
            ValueError: if it is broken, with its file or line; or if the id could mean two images.
        """

    @abstractmethod
    def __contains__(self, image_id: object) -> bool:
        """Whether the id means one image."""

    def key_of(self, image_id: str) -> str:
        """The key of the image, of which there may be several ids; the id where there is none."""
        return image_id

    def missing(self, image_id: str) -> str:
        """Why `image_id` is not in these images, in one sentence."""
        return f"There is no image '{image_id}' in '{self.name}'"

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.name}')"


class NoImages(ImageSource):
    """Where a configuration names no images."""

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
        return f"There is no image '{image_id}', for no images are named"


__all__ = ["ImageSource", "NoImages"]
