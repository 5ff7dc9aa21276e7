"""Which number format the layers compute in: Keras's mixed-precision policy."""
import tensorflow as tf

from training.devices import device_kind

POLICIES = ("auto", "mixed_float16", "mixed_bfloat16", None)
TENSOR_CORES = (7, 0)  # compute capability (V100) from which float16 is faster than float32


def choose_policy(name, kind, compute_capabilities=()):
    """The Keras policy for the option --mixed_precision.

    name: 'mixed_float16', 'mixed_bfloat16', None (float32) or 'auto': mixed_bfloat16 on TPUs,
        mixed_float16 on GPUs that all have tensor cores, float32 otherwise.
    kind: 'TPU', 'GPU' or 'CPU'.
    compute_capabilities: (major, minor) of each GPU; None in the place of one that is unknown.

    Returns 'mixed_float16', 'mixed_bfloat16' or 'float32'.
    Raises ValueError for another name, and for mixed_float16 on a TPU, which has no float16 units.
    """
    if name not in POLICIES:
        raise ValueError(f"--mixed_precision={name} is unknown; give one of "
                         f"{', '.join(map(str, POLICIES))} (None: float32).")
    if name == "mixed_float16" and kind == "TPU":
        raise ValueError("--mixed_precision=mixed_float16 does not work on a TPU; "
                         "give mixed_bfloat16 or auto.")
    if name != "auto":
        return name or "float32"
    if kind == "TPU":
        return "mixed_bfloat16"
    if kind == "GPU" and all(found and found >= TENSOR_CORES for found in compute_capabilities):
        return "mixed_float16"
    return "float32"


def set_mixed_precision(name, strategy):
    """Sets Keras's global policy for the layers built from now on; returns its name.

    name: see choose_policy.

    Under mixed_float16 the optimizer must scale the loss: Model.compile sees to it, a loop of one's
    own wraps it in tf.keras.mixed_precision.LossScaleOptimizer.
    """
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability")
                    for gpu in tf.config.list_physical_devices("GPU")]
    policy = choose_policy(name, device_kind(strategy), capabilities)
    tf.keras.mixed_precision.set_global_policy(policy)
    return policy
