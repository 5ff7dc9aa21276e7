"""Reading the records of a window of the order together, those that lie near each other in one piece.

For stores that memory does not hold. Training with --buffer_size shuffles so many records at a time, in blocks
that lie beside each other (pipeline.order.shuffle_blocks): such a window is some large reads at random
places, whatever its order. Nothing is kept but windows, so that what comes is a pure function of the
positions, from any step on. Without Python, so that it also works on the host of a remote TPU, and alike
for local files and cloud storage. In memory are four windows of encoded records: one in use, and the next
one while it is read, parsed and put in order.
"""
import numpy as np
import tensorflow as tf

from records.schema import FRAME_HEAD, FRAME_TAIL, parse_examples

READERS = 16  # of pieces; disks and networks serve several at once
MOST_GAP = 1 << 16  # bytes between wanted records that are read with them


def window_reader(store, rows):
    """A function of a Dataset of int64 [k, b] positions in `rows` (int [n], rows of the manifest) -> Dataset
    of string [b], PNG or JPEG bytes.

    Checksums are looked at. A damaged shard raises DataLossError, one with fewer records
    InvalidArgumentError, in whose message stands "StoreError: " and what to do.
    """
    manifest = store.manifest.iloc[rows]
    codes = {shard["file"]: i for i, shard in enumerate(store.info["shards"])}
    offset, length = (manifest[name].to_numpy(np.int64) for name in ("offset", "length"))
    paths = tf.constant(store.shard_paths())
    places = [tf.constant(values, tf.int64) for values in (
        rows, manifest["shard"].map(codes), offset - FRAME_HEAD, offset + length + FRAME_TAIL)]

    def read_window(positions):
        wanted = tf.reshape(positions, [-1])
        order = tf.argsort(tf.gather(places[0], wanted), stable=True)
        row, shard, start, end = (tf.gather(values, tf.gather(wanted, order)) for values in places)
        apart = (shard[1:] != shard[:-1]) | (start[1:] - end[:-1] > MOST_GAP)
        first = tf.where(tf.concat([[True], apart], 0))[:, 0]  # of each piece, in the order of `row`
        after = tf.concat([first[1:], [tf.size(row, tf.int64)]], 0)

        def read_piece(first, after):
            path, begin = paths[shard[first]], start[first]
            count = row[after - 1] - row[first] + 1  # records that nobody wants included
            records = tf.data.experimental.from_variant(tf.raw_ops.TFRecordDatasetV2(
                filenames=path[None], compression_type="", buffer_size=end[after - 1] - begin,
                byte_offsets=begin[None]), tf.TensorSpec([], tf.string))

            def choose(found):
                whole = tf.debugging.Assert(tf.size(found, tf.int64) == count, [tf.strings.join(
                    ["StoreError: ", path, " ends early: copy it again or repack the store"])])
                with tf.control_dependencies([whole]):
                    return tf.gather(found, row[first:after] - row[first])
            return records.take(count).batch(count).map(choose)
        pieces = tf.data.Dataset.from_tensor_slices((first, after)).interleave(
            read_piece, READERS, 1, num_parallel_calls=READERS, deterministic=True)
        found = pieces.unbatch().batch(tf.size(row, tf.int64)).get_single_element()
        images = parse_examples(found)["image"]
        return tf.reshape(tf.gather(images, tf.math.invert_permutation(order)), tf.shape(positions))

    def read(windows):
        batch = windows.element_spec.shape[1]
        return windows.map(lambda at: tf.ensure_shape(read_window(at), [None, batch])).prefetch(1).unbatch()
    return read
