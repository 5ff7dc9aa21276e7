"""Where in an image a classifier sees a class: a heat map of any logit.

Networks that end in a feature map: Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391). Of the last
feature map A [h', w', c'], that which is pooled, and a logit y:
    weight_c = mean over places of dy/dA_c        heat = ReLU(sum over c of weight_c A_c)
With average pooling and a dense head this is CAM. The cosine heads do not change with the length of
the feature, so the sum has the mean 0 there: the heat is where a class has more than its average.

Transformers whose tokens are all alike from block to block (BEiT, ViT, EVA, DINOv2): in their last map
every token has seen all the others, so its places tell little. Their attention maps [heads, t, t] do, by
the rule of Chefer et al., 2021, arXiv:2103.15679, eq. 5 and 6; it is attention rollout, but of one logit:
    R = 1;  for each block:  R = R + (mean over heads of ReLU(A * dy/dA)) R
The heat of a patch is what R adds for it to the patches that are pooled, on average, above the least of
any patch.
"""
import tensorflow as tf
from tensorflow import keras

from models.kecam_package import TokensToMap

GRAD_CAM, RELEVANCE = "Grad-CAM", "attention relevance"
# Of the logit while its gradient passes attention in float16, where small numbers are lost.
GRADIENT_SCALE = 256.0


class NoHeatMap(ValueError):
    """A network of which there is no heat map."""


def heat_maps(classifier, backbone="the network"):
    """(GRAD_CAM or RELEVANCE, the function that makes the heat maps of a classifier).

    classifier: of build_classifier. backbone: its name, for errors. The tf.function takes images, float
    [n, h, w, c], normalised, and labels, int [n, k], 0 <= label < n_classes, and gives heat, float32
    [n, k, h, w], from 0 to 1, the largest of each coarse map; all 0 where nothing speaks for the class. Each
    image and label stands for itself, whatever else is in the batch. Heat is float32 under every
    mixed-precision policy; so is all of Grad-CAM from the last feature map on.

    Memory: of Grad-CAM that of predicting the images, and k times their last feature maps; of
    transformers that of a backward pass of one image, with its attention maps.
    Raises NoHeatMap for networks whose last map has no places, or whose attention cannot be had.
    """
    try:
        feature_map = classifier.get_layer("pooling").input
    except ValueError as error:
        raise NoHeatMap(f"{backbone} has no layer \"pooling\", before which its last feature map would be: "
                        "build it with build_classifier") from error
    if feature_map.shape[1:3].num_elements() == 1:
        raise NoHeatMap(f"the last feature map of {backbone} is one cell at its input of "
                        f"{classifier.input_shape[1]} px, which tells no places: train a run with a larger "
                        "--dim, or take a backbone that shrinks less")
    tokens = [layer for layer in classifier.layers if isinstance(layer, TokensToMap)]
    if tokens:
        method, coarse = RELEVANCE, _attention_relevance(classifier, tokens[0], backbone)
    else:
        method, coarse = GRAD_CAM, _grad_cam(classifier, feature_map)

    @tf.function(reduce_retracing=True)
    def heat(images, labels):
        size = tf.shape(images)[1:3]
        flat = coarse(images, tf.shape(labels)[1], tf.reshape(labels, [-1]))  # [n*k, h', w']
        flat = tf.math.divide_no_nan(flat, tf.reduce_max(flat, axis=[1, 2], keepdims=True))
        flat = tf.image.resize(flat[..., None], size, "bilinear")  # [n*k, h, w, 1]
        return tf.reshape(flat, tf.concat([tf.shape(labels), size], 0))
    return method, heat


def _grad_cam(classifier, feature_map):
    """A function of images [n, h, w, c], k, and labels [n*k] -> coarse heat float32 [n*k, h', w'], >= 0."""
    below = keras.Model(classifier.input, feature_map)
    layers = [layer.name for layer in classifier.layers]
    above = classifier.layers[layers.index("pooling"):]  # a straight chain: pooling, neck, dropout, head

    def coarse(images, k, labels):
        features = tf.cast(below(images, training=False), tf.float32)  # [n, h', w', c']
        features = tf.repeat(features, k, axis=0)  # [n*k, h', w', c']
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            logits = features
            for layer in above:
                logits = layer(logits)  # as Keras has it outside of training
            chosen = tf.gather(logits, labels, batch_dims=1)  # [n*k]
        weights = tf.reduce_mean(tape.gradient(chosen, features), axis=[1, 2])  # [n*k, c']
        return tf.nn.relu(tf.einsum("nhwc,nc->nhw", features, weights))
    return coarse


def _attention_relevance(classifier, tokens, backbone):
    """As _grad_cam. tokens: the TokensToMap layer, which tells which of the tokens are patches."""
    n_tokens = tokens.input_shape[1]
    attention = [layer.output for layer in classifier.layers
                 if isinstance(layer, keras.layers.Softmax) and layer.name.endswith("attention_scores")]
    if tokens.height == 1 or not attention or any(a.shape[2:] != (n_tokens, n_tokens) for a in attention):
        raise NoHeatMap(f"{backbone} is a transformer whose attention maps between one grid of patches cannot "
                        "be had: there are heat maps of networks that end in a feature map (convolutional "
                        "ones, Swin) and of kecam's BEiT, ViT, FlexiViT, EVA and DINOv2")
    network = keras.Model(classifier.input, [*attention, classifier.output])
    patches = slice(tokens.first, tokens.first + tokens.height * tokens.width)

    def relevance(image_and_label):
        image, label = image_and_label
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            *maps, logits = network(image[None], training=False)
            chosen = logits[0, label] * GRADIENT_SCALE
        total = tf.eye(n_tokens)  # [t, t]: what each token (row) has of those that came in (columns)
        for own, gradient in zip(maps, tape.gradient(chosen, maps)):
            gradient = tf.cast(gradient[0], tf.float32) / GRADIENT_SCALE
            own = tf.reduce_mean(tf.nn.relu(tf.cast(own[0], tf.float32) * gradient), axis=0)  # [t, t]
            total += own @ total
        added = (total - tf.eye(n_tokens))[patches, patches]
        added = tf.reduce_mean(added, axis=0)
        return tf.reshape(added - tf.reduce_min(added), [tokens.height, tokens.width])

    def coarse(images, k, labels):
        images = tf.repeat(images, k, axis=0)  # [n*k, h, w, c]
        return tf.map_fn(relevance, (images, labels), parallel_iterations=1,
                         fn_output_signature=tf.TensorSpec([tokens.height, tokens.width], tf.float32))
    return coarse
