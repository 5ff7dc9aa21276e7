"""The pictures of a product as one record: joined into one picture, or beside each other.

A source of pictures, in which those of a product follow each other, becomes one of products. Order,
augmentation and views then know only records: of a grid their shares are those of the whole grid.
"""
import dataclasses

import tensorflow as tf

POOLINGS = ("grid", "features")
# Where the pictures stand, row by row. Of three the first, which a shop chooses to be seen first, comes again.
PLACES = {1: ((0,),), 2: ((0, 1),), 3: ((0, 1), (2, 0)), 4: ((0, 1), (2, 3))}


def join_pictures(images):
    """uint8 [b, k, h, w, c] -> [b, h, w, c] of one picture, [b, h, 2w, c] of two, [b, 2h, 2w, c] of three
    and four; k from 1 to 4."""
    rows = [tf.concat([images[:, k] for k in row], axis=2) for row in PLACES[images.shape[1]]]
    return tf.concat(rows, axis=1)


def product_source(source, k, pooling):
    """The ImageSource of products: product p has the pictures p*k to p*k + k-1 of `source`.

    k: pictures of each, 1 to 4. pooling: "grid", fetched are the pictures of join_pictures; "features",
    uint8 [b, k, h, w, c].
    """
    if k not in PLACES or pooling not in POOLINGS:
        raise ValueError(f"products have 1 to {max(PLACES)} pictures, pooled by {' or '.join(POOLINGS)}; got "
                         f"{k} and {pooling!r}")

    def fetch(positions):
        places = positions.map(lambda batch: tf.reshape(batch[:, None] * k + tf.range(k, dtype=batch.dtype), [-1]))
        return source.fetch(places).map(apart)

    def apart(images):
        images = tf.reshape(images, [-1, k, *images.shape[1:]])
        return join_pictures(images) if pooling == "grid" else images
    return dataclasses.replace(source, fetch=fetch, fetch_encoded=None, images=None, stream=None,
                               pictures=k if pooling == "features" else None)


def grid_side(k):
    """Pictures along the longer side of the grid of k."""
    return len(PLACES[k][0])
