"""Millions of pictures in one file: columns instead of a SourceImage each."""
import dataclasses
import hashlib
import os

import numpy as np
import pandas as pd

from records.annotations import Problem, SourceImage
from records.images import LINES

UNLABELLED = -1
BLOCK = 1 << 16  # pictures at a time


@dataclasses.dataclass
class ImageColumns:
    """The pictures of the products of one file, in its order, those of a product next to each other.

    Arrays are [n], of n pictures; memory: 45 bytes a picture. names: of the classes.
    """
    path: str
    names: list
    product: np.ndarray  # int64, the product's _id
    place: np.ndarray  # int32, among the product's pictures, from 0
    start: np.ndarray  # int64, byte at which the product's document begins
    category: np.ndarray  # int32, into names; UNLABELLED
    offset: np.ndarray  # int64, byte at which the picture begins
    length: np.ndarray  # int32, bytes of it
    width: np.ndarray  # int32, px
    height: np.ndarray  # int32, px
    plain: np.ndarray  # bool: a JPEG that images.plain_jpeg_size knows

    def __len__(self):
        return len(self.product)

    def __getitem__(self, where):
        """The SourceImage at an int, or ImageColumns of a slice or array."""
        if isinstance(where, (int, np.integer)):
            return self._image(int(where))
        return dataclasses.replace(self, **{name: array[where] for name, array in self.arrays().items()})

    def __iter__(self):
        return map(self._image, range(len(self)))

    def _image(self, i):
        product, label = self.product[i], self.category[i]
        return SourceImage(
            f"{product}_{self.place[i]}", self.path, None, str(product),
            [self.names[label] if label >= 0 else ""], None, -1, self.whereabouts(i), None,
            int(self.width[i]), int(self.height[i]), extent=(int(self.offset[i]), int(self.length[i])))

    def whereabouts(self, i):
        return f"{self.path}, _id {self.product[i]} at byte {self.start[i]}"

    def arrays(self):
        return {name: array for name, array in vars(self).items() if name not in ("path", "names")}

    def digest(self):
        """A digest of all that is known of the pictures, and of the file's size and time."""
        stat = os.stat(self.path)
        digest = hashlib.sha256(f"{self.path} {stat.st_size} {stat.st_mtime_ns} {self.names}".encode())
        for array in self.arrays().values():
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def as_they_are(self, options):
        """bool [n]: whose bytes are their record already. options: chunks.CropOptions."""
        changed = options.local_contrast or options.denoise or options.fit in LINES
        if options.encoding != "jpeg" or options.channels != 3 or changed:
            return np.zeros(len(self), bool)
        return self.plain & (self.width == options.size) & (self.height == options.size)

    def without_larger(self, max_megapixels):
        """(those of products without too large a picture, list of Problem)."""
        large = self.width.astype(np.int64) * self.height > max_megapixels * 1e6
        problems = [Problem(self.whereabouts(i), None, (
            f"picture {self.place[i]}: {self.width[i]} x {self.height[i]} pixels, more than the "
            f"{max_megapixels} megapixels allowed (raise --max_megapixels if that is right)"))
            for i in np.flatnonzero(large)]
        return self[~np.isin(self.product, self.product[large])] if problems else self, problems

    def first_of_products(self):
        """int [products]: the place of each product's first picture."""
        return np.flatnonzero(np.diff(self.product, prepend=self.product[:1] - 1))

    def image_table(self, made):
        """Yields images.csv, some rows at a time. made: bool [n], of which pictures there is a record."""
        for start in range(0, len(self), BLOCK):
            part = self[start:start + BLOCK]
            groups = part.product.tolist()
            yield pd.DataFrame({
                "image_id": [f"{group}_{place}" for group, place in zip(groups, part.place.tolist())],
                "width": part.width, "height": part.height, "records": made[start:start + BLOCK].astype(int),
                "group": groups}).to_csv(index=False, header=start == 0)

    def named(self, table):
        """The rows of the manifest, of a table with the column `image`, a place among the pictures."""
        rows = table["image"].to_numpy()
        groups = self.product[rows].tolist()
        ids = [f"{group}_{place}" for group, place in zip(groups, self.place[rows].tolist())]
        names = np.array([*self.names, ""], object)  # the last: of UNLABELLED
        return pd.DataFrame({"id": ids, "image_id": ids, **dict.fromkeys("xywh", ""), "group": groups,
                             "label": names[table["label_id"].to_numpy()], "fold": table["fold"].to_numpy(),
                             "label_id": table["label_id"].to_numpy()})
