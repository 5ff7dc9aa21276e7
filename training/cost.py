"""What training a network costs: floating-point operations, bytes of its variables, peak memory."""
import math
import pathlib
import re

import tensorflow as tf

# operation -> the tensors (place among its inputs; "out") of what the convolution gives, and its kernel
CONVOLUTIONS = {"Conv2D": ("out", 1), "Conv2DBackpropInput": (2, 1), "Conv2DBackpropFilter": (2, "out"),
                "DepthwiseConv2dNative": ("out", 1), "DepthwiseConv2dNativeBackpropInput": (2, 1),
                "DepthwiseConv2dNativeBackpropFilter": (2, "out")}
PRODUCTS = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x", "BatchMatMulV3": "adj_x"}


def network_flops(model, image_shape, pictures=1):
    """(FLOPs of a forward pass, of a forward and a backward pass) of one image, or record of pictures.

    image_shape: (h, w, c). pictures: of a record. Counted in the graph of the network and its gradient: 2 for each
    multiply-add of the convolutions and matrix products. All else (activations, normalisation,
    losses, optimizer) is bound by memory and left out, as is what a training step adds to the
    network. Of frozen layers no gradient is counted. Call it in the strategy's scope. Raises
    ValueError for a network with a loop, or with shapes that only the images tell.
    """
    learned = [getattr(v, "values", [v])[0] for v in model.trainable_variables]  # on the first device

    def passes(inputs):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model(inputs, training=False))
            total = tf.add_n([tf.reduce_sum(tf.cast(x, tf.float32)) for x in outputs])
        return total, [total, *tape.gradient(total, learned, unconnected_gradients="zero")]

    # Keras hides grouped convolutions in a tf.function, whose shapes are not known.
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        images = tf.TensorSpec([pictures, *image_shape], tf.float32)
        given = images if not model.inputs else tf.nest.map_structure(  # a vector may come beside the images
            lambda x: images if x.shape.rank == 4 else tf.TensorSpec([1, *x.shape[1:]], tf.float32), model.input)
        traced = tf.compat.v1.wrap_function(passes, [given])
    finally:
        tf.config.run_functions_eagerly(eager)
    return tuple(2 * sum(map(_multiply_adds, _needed_for(tf.nest.flatten(outputs))))
                 for outputs in traced.structured_outputs)


def _needed_for(tensors):
    """The operations that tensors of a graph are computed by: gradients that nobody asked for, such
    as that of the images, stand in the graph too."""
    needed, left = set(), [tensor.op for tensor in tensors]
    while left:
        op = left.pop()
        if op not in needed:
            needed.add(op)
            left += [tensor.op for tensor in op.inputs]
    return needed


def _multiply_adds(op):
    if op.type in ("While", "StatelessWhile"):
        raise ValueError(f"{op.name} is a loop, and how often it runs is not known")
    if op.type in CONVOLUTIONS:
        result, kernel = (_shape(op, place) for place in CONVOLUTIONS[op.type])
        depthwise = op.type.startswith("Depthwise")
        return math.prod(result) * math.prod(kernel[:2 if depthwise else 3])
    if op.type in PRODUCTS:
        return math.prod(_shape(op, "out")) * _shape(op, 0)[-2 if op.get_attr(PRODUCTS[op.type]) else -1]
    if op.type == "Einsum":
        terms, result = op.get_attr("equation").decode().split("->")
        sides = {}
        for place, term in enumerate(terms.split(",")):
            before, dots, after = term.partition("...")
            shape = _shape(op, place)
            sides |= dict(zip(before, shape)) | dict(zip(reversed(after), reversed(shape)))
        summed = math.prod(side for label, side in sides.items() if label not in result)
        return math.prod(_shape(op, "out")) * summed
    return 0


def _shape(op, place):
    shape = (op.outputs[0] if place == "out" else op.inputs[place]).shape
    if not shape.is_fully_defined():
        raise ValueError(f"the shape {shape} of {op.name} depends on the images")
    return shape.as_list()


def bytes_of(variables):
    """Bytes of the values of variables, each on one device."""
    return sum(math.prod(v.shape) * v.dtype.size for v in variables)


def peak_memory():
    """{"process": bytes, "GPU:0": bytes, ...}: the most that this process held in the host's memory,
    and TensorFlow on each GPU."""
    status = pathlib.Path("/proc/self/status").read_text()
    peaks = {"process": int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024}
    for place in range(len(tf.config.list_logical_devices("GPU"))):
        peaks[f"GPU:{place}"] = tf.config.experimental.get_memory_info(f"GPU:{place}")["peak"]
    return peaks
