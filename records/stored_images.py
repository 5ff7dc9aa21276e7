"""Every image of a packed store, one after another, for what looks at each once."""
import tensorflow as tf
from google.protobuf.message import DecodeError

from records.store import REMEDY, StoreError


def stored_images(store):
    """Yields (row of the manifest, PNG or JPEG bytes) of every record, in the manifest's order.

    Memory: one record, and 4 MB of its shard. Raises StoreError for a shard that is damaged or holds other
    records than the manifest names.
    """
    ids, row = store.manifest["id"].tolist(), 0
    for shard, path in zip(store.info["shards"], store.shard_paths()):
        end = row + shard["records"]
        try:
            for serialised in tf.data.TFRecordDataset(path, buffer_size=1 << 22).as_numpy_iterator():
                features = tf.train.Example.FromString(serialised).features.feature
                name = features["image_id"].bytes_list.value[0].decode()
                if row == end or name != ids[row]:
                    raise StoreError(f"{path}: its record {name!r} is not the one that manifest.csv names: "
                                     f"{REMEDY}")
                yield row, features["image"].bytes_list.value[0]
                row += 1
        except (tf.errors.DataLossError, DecodeError, UnicodeDecodeError, IndexError) as error:
            raise StoreError(f"{path} is damaged ({getattr(error, 'message', error)}): {REMEDY}") from error
        if row != end:
            raise StoreError(f"{path} ends {end - row} records too early: {REMEDY}")
