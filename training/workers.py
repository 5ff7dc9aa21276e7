"""Several machines that train together: who writes, and what all of them know.

MultiWorkerMirroredStrategy runs the same program on every machine; TF_CONFIG says which one this is.
"""
import json
import os
import zlib

import numpy as np
import tensorflow as tf


def cluster():
    """(number of this worker, how many there are) as TF_CONFIG says; (0, 1) without it.

    Raises ValueError for a TF_CONFIG that cannot be read.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        task, workers = config["task"], config["cluster"]["worker"]
        number, kind = int(task["index"]), task["type"]
        if kind != "worker" or not 0 <= number < len(workers):
            raise ValueError(f"the task is {kind} {number} of {len(workers)} workers")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG cannot be used ({error}): it must be like "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", '
            '"index": 0}}, with an index of its own on each machine') from error
    return number, len(workers)


def is_chief():
    """Does this process write the run's files? The first worker does, or the only one."""
    return cluster()[0] == 0


def agreed(strategy, text):
    """Do all workers come with the same text? Each waits here for the others."""
    if cluster()[1] == 1:
        return True
    number = tf.constant([zlib.crc32(text.encode())], tf.int64)
    everyone = strategy.gather(strategy.experimental_distribute_values_from_function(
        lambda context: number), axis=0)
    return len(set(everyone.numpy().tolist())) == 1


def gathered_parts(variable, strategy):
    """NumPy [devices, ...] of a variable that each device keeps for itself, over all workers."""
    parts = np.stack([part.numpy() for part in variable.values])  # those of this worker
    if cluster()[1] == 1:
        return parts
    here = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group % len(parts)][None]))
    return strategy.gather(here, axis=0).numpy()


def distributed(strategy, batches_of, batch_size):
    """The batches of all devices of all hosts as a distributed data set.

    batches_of: function (worker, n_workers) -> Dataset of the part of every batch that this input
    pipeline has to give. batch_size: of all together.
    """
    if cluster()[1] == 1 and getattr(strategy.extended, "num_hosts", 1) == 1:
        return strategy.experimental_distribute_dataset(batches_of(0, 1))

    def of_pipeline(context):
        part = batches_of(context.input_pipeline_id, context.num_input_pipelines)
        return part.rebatch(context.get_per_replica_batch_size(batch_size), drop_remainder=True)
    return strategy.distribute_datasets_from_function(of_pipeline)
