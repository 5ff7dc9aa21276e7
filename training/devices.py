"""Which devices train: a TPU, GPUs or the CPU, as a tf.distribute.Strategy."""
import os

import tensorflow as tf

from training import tpu_node
from training.tpu_node import TPUNotReachable  # noqa: F401  callers catch devices.TPUNotReachable
from training.workers import cluster

MIRRORED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


def choose_strategy(tpu_ip_or_name="auto", *, tpu_version=None, tpu_project=None, tpu_zone=None,
                    cpu_replicas=None, deadline_seconds=40, client_factory=None):
    """The strategy to train under; prints one line that says what was chosen.

    tpu_ip_or_name:
        'auto': a TPU if this machine has one, else all its GPUs, else the CPU;
        None: all GPUs if there are any, else the CPU, never a TPU;
        'local': the TPU chips of this machine (a TPU VM);
        a name: that TPU node, waited for until it is healthy and runs `tpu_version`;
        'grpc://ip:port', 'ip:port' or 'ip' (several joined by commas): the TPU at that address.
    tpu_version: TensorFlow version for a named node; None = this TensorFlow's own.
    tpu_project, tpu_zone: of a named node; None = those of this Google Cloud machine.
    cpu_replicas: splits the CPU into so many logical devices, to try data-parallel training out
        without accelerators. Must come before TensorFlow uses its devices.
    deadline_seconds: longest wait for something that gives no answer.
    client_factory: stands in for cloud_tpu_client.Client.

    One GPU or the CPU gets TensorFlow's default strategy, under which everything may be compiled;
    more GPUs get MirroredStrategy; several machines, which TF_CONFIG names, MultiWorkerMirroredStrategy.

    Raises TPUNotReachable for a TPU that cannot be used: there is no fallback. ValueError for
    arguments that make no sense.
    """
    if cpu_replicas is not None:
        if cluster()[1] > 1:
            raise ValueError("--cpu_replicas is for trying out without TF_CONFIG: unset one of them.")
        if tpu_ip_or_name not in (None, "auto"):
            raise ValueError(f"--cpu_replicas={cpu_replicas} and --tpu_ip_or_name="
                             f"{tpu_ip_or_name} exclude each other; leave one out.")
        return _split_cpu(cpu_replicas)
    if cluster()[1] > 1:
        if tpu_ip_or_name not in (None, "auto"):
            raise ValueError(f"TF_CONFIG names several workers, and --tpu_ip_or_name={tpu_ip_or_name} a "
                             "TPU: unset TF_CONFIG, or give --tpu_ip_or_name=None.")
        return _workers()
    tpu = tpu_node.find_tpu() if tpu_ip_or_name == "auto" else tpu_ip_or_name
    if tpu is None:
        return _gpus_or_cpu()
    if not tpu:
        raise ValueError("--tpu_ip_or_name is empty; give auto, local, a TPU's name, "
                         "grpc://IP:PORT, or None for GPUs.")
    return _tpu(tpu, tpu_version, tpu_project, tpu_zone, deadline_seconds, client_factory)


def device_kind(strategy):
    """'TPU', 'GPU' or 'CPU': where the strategy's replicas compute."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "TPU"
    if isinstance(strategy, MIRRORED):
        return tf.DeviceSpec.from_string(strategy.extended.worker_devices[0]).device_type
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def _announce(text):
    print(f"device: {text}", flush=True)


def _tpu(tpu, version, project, zone, deadline_seconds, client_factory):
    accelerator = os.environ.get("TPU_ACCELERATOR_TYPE") if tpu == "local" else None
    if tpu == "local":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver("local")
    else:
        addresses = tpu_node.parse_addresses(tpu)
        is_name = addresses is None
        if is_name:
            addresses, accelerator = tpu_node.prepare_node(
                tpu, version=version, project=project, zone=zone,
                deadline_seconds=deadline_seconds, client_factory=client_factory)
        # The server of a node whose version was just set may need a moment.
        resolver = tpu_node.connect(tpu, addresses, deadline_seconds=deadline_seconds,
                                    patient=is_name)
    strategy = tpu_node.initialise(tpu, resolver)
    _announce(f"TPU {accelerator + ' ' if accelerator else ''}({tpu}), "
              f"{strategy.num_replicas_in_sync} replicas on {strategy.extended.num_hosts} host(s)")
    return strategy


def _workers():
    """Before TensorFlow uses its devices, as it opens the connections."""
    number, count = cluster()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    _announce(f"worker {number} of {count}, {strategy.num_replicas_in_sync} replicas in all, "
              f"{device_kind(strategy)}, MultiWorkerMirroredStrategy")
    return strategy


def _gpus_or_cpu():
    gpus = tf.config.list_physical_devices("GPU")
    names = {tf.config.experimental.get_device_details(gpu).get("device_name", "unnamed")
             for gpu in gpus}
    if len(gpus) > 1:
        strategy = tf.distribute.MirroredStrategy()
        _announce(f"{len(gpus)} GPUs ({', '.join(sorted(names))}), MirroredStrategy")
        return strategy
    _announce(f"1 GPU ({names.pop()})" if gpus else "CPU")
    return tf.distribute.get_strategy()


def _split_cpu(replicas):
    if replicas < 1:
        raise ValueError(f"--cpu_replicas must be 1 or more, not {replicas}.")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:
        raise RuntimeError(f"--cpu_replicas={replicas} came after TensorFlow had set up its "
                           "devices; choose the strategy before anything else.") from error
    _announce(f"CPU as {replicas} logical devices, MirroredStrategy (for trying out)")
    return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(replicas)])
