"""The surroundings of given cells of a feature map."""
import tensorflow as tf


def gather_neighbourhoods(features, cells, radius):
    """Gather the square of cells around each given one.

    features: [b, h, w, c]; cells: int [b, p, 2], (row, column); radius: in cells, >= 0.
    Returns [b, p, 2 radius + 1, 2 radius + 1, c] in the dtype of features, zeros beyond the border.
    Its gradient flows to the features. Needs no padded copy of the map.
    """
    batch, height, width, channels = [static or dynamic for static, dynamic
                                      in zip(features.shape, tf.unstack(tf.shape(features)))]
    n_points = cells.shape[1] or tf.shape(cells)[1]
    side = 2 * radius + 1
    steps = tf.range(-radius, radius + 1, dtype=cells.dtype)
    rows = (cells[..., 0, None] + steps)[..., :, None]  # [b, p, side, 1]
    columns = (cells[..., 1, None] + steps)[..., None, :]  # [b, p, 1, side]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    positions = tf.where(inside, rows * width + columns, 0)  # [b, p, side, side]
    gathered = tf.gather(tf.reshape(features, [batch, height * width, channels]),
                         tf.reshape(positions, [batch, n_points * side ** 2]), batch_dims=1)
    gathered = tf.reshape(gathered, [batch, n_points, side, side, channels])
    return tf.where(inside[..., None], gathered, tf.zeros([], features.dtype))
