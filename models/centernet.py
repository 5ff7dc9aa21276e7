"""CenterNet: images -> centre heatmap, box size, centre offset, and classes at given cells.

Zhou, Wang & Krähenbühl, "Objects as Points", 2019, arXiv:1904.07850. "pyramid" is the network of
the 5th place of Kuzushiji Recognition 2019, with size and offset added; "hourglass104" is the
original, "hourglass_small" the same made light.
"""
import tensorflow as tf
from tensorflow import keras

from models.heads import SoftmaxHead
from models.hourglass import HOURGLASSES, hourglass_features
from models.neighbourhoods import gather_neighbourhoods
from models.pyramid import build_pyramid_backbone, pyramid_features
from models.random_layers import generators_with_state, track_generators
from models.registry import did_you_mean

layers = keras.layers

ARCHITECTURES = ("pyramid", *HOURGLASSES)
# A heatmap of about 0.1 everywhere to begin with, as published: nearly all cells are empty.
HEATMAP_BIAS = -2.19


class CenterNet(keras.Model):
    """Made by build_centernet, with all its weights. "Cells" are those of the maps, 4 px wide.

    network: a keras.Model, images -> a list of dicts as `call` returns them; multiple: what image
    sides must be multiples of, px; n_heatmaps: >= 1; n_classes: 0 for a network without class
    branch; class_channels: of the class embedding; class_dropout: rate, 0 <= rate < 1.
    """

    stride = 4  # px a cell

    def __init__(self, network, multiple, n_heatmaps, n_classes=0, class_channels=512,
                 class_dropout=0.5, **options):
        super().__init__(**options)
        self.network = network
        self.multiple, self.n_heatmaps, self.n_classes = multiple, n_heatmaps, n_classes
        if n_classes:
            feature_channels = network.output_shape[-1]["features"][-1]
            self.class_conv = layers.Conv2D(class_channels, 3, activation="relu", name="class_conv")
            self.class_dropout = layers.Dropout(class_dropout, name="class_dropout")
            self.class_head = SoftmaxHead(n_classes, name="class_head")
            for layer, channels in ((self.class_conv, feature_channels),
                                    (self.class_dropout, class_channels),
                                    (self.class_head, class_channels)):
                with tf.name_scope(layer.name):
                    layer.build((None, None, None, channels))
        self.built = True  # so that weights can be loaded before the first call

    def call(self, images, training=False):
        """Run the network.

        images: float [b, h, w, c], normalised; h and w multiples of `multiple`. Returns a list with
        one dict per stack of the network, of which the last is the result:
        "features" [b, h/4, w/4, c'] in the compute dtype;
        "heatmap" float32 [b, h/4, w/4, n_heatmaps], logits;
        "size" float32 [b, h/4, w/4, 2], (width, height) of the box in cells;
        "offset" float32 [b, h/4, w/4, 2], (x, y) of the centre within its cell, in cells.
        """
        height, width = images.shape[1:3]
        if (height or 0) % self.multiple or (width or 0) % self.multiple:
            raise ValueError(f"this network takes images whose sides are multiples of {self.multiple} "
                             f"px, not {height}x{width} px; pad them")
        return self.network(images, training=training)

    def class_embedding(self, features, cells, reach=0, training=False):
        """Evaluate the class branch at the given cells, and at their neighbours, only.

        features: [b, h, w, c'] of the last dict; cells: int32 [b, p, 2], (row, column); reach: how
        many cells around each are wanted, 0 for the cell alone.
        Returns [b, p, (1 + 2 reach)^2, class_channels] in the compute dtype, row by row around each
        cell: at cells of the map what a dense convolution gives there, beyond the border what it
        gives on a map continued with zeros. Dropout applies when training.
        """
        self._needs_classes()
        around = gather_neighbourhoods(features, cells, reach + 1)  # [b, p, 3+2r, 3+2r, c']
        squares = tf.reshape(around, [-1, *around.shape[2:]])  # [b*p, 3+2r, 3+2r, c']
        embedding = self.class_conv(squares)  # [b*p, 1+2r, 1+2r, class_channels]
        shape = [*tf.unstack(tf.shape(cells)[:2]), (1 + 2 * reach) ** 2, embedding.shape[-1]]
        embedding = tf.reshape(embedding, shape)  # [b, p, (1+2r)^2, class_channels]
        return self.class_dropout(embedding, training=training)

    def class_logits(self, embedding):
        """[..., class_channels] -> logits float32 [..., n_classes]."""
        self._needs_classes()
        return self.class_head(embedding)

    @property
    def class_kernel(self):
        """The variable [class_channels, n_classes] of class_logits, float32."""
        self._needs_classes()
        return self.class_head.kernel

    @property
    def class_bias(self):
        """The variable [n_classes] of class_logits, float32."""
        self._needs_classes()
        return self.class_head.bias

    def _needs_classes(self):
        if not self.n_classes:
            raise ValueError("this CenterNet has no class branch (n_classes=0); "
                             "build it with n_classes")


def build_centernet(architecture="pyramid", channels=3, n_heatmaps=1, n_classes=0, *,
                    backbone="resnet101d", weights=None, pyramid_channels=256, head_channels=128,
                    class_channels=512, class_dropout=0.5, cls=CenterNet, **backbone_arguments):
    """Build a CenterNet with all its weights, for images of any size (multiples of its .multiple).

    architecture: one of ARCHITECTURES; channels: of the images, 1 or 3; n_heatmaps: 1 for centres
    of any class, or one per class as in the original; n_classes: of the class branch, 0 for none;
    class_channels, class_dropout: of that branch; cls: CenterNet or a subclass of it.
    For "pyramid" only: backbone, weights, backbone_arguments: see models.backbones.build_backbone;
    pyramid_channels: of each level; head_channels: of each level's head.

    Random weights are a pure function of the seed given to keras.utils.set_random_seed just before.
    Weights are kept by save_weights("NAME.h5") and load_weights. Raises ValueError for an unknown
    architecture, options outside their range or of another architecture, and what
    build_pyramid_backbone raises.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no architecture {architecture!r}"
                         f"{did_you_mean(str(architecture), ARCHITECTURES)} It is one of {', '.join(ARCHITECTURES)}")
    if channels not in (1, 3) or n_heatmaps < 1 or n_classes < 0:
        raise ValueError("a CenterNet needs channels 1 or 3, n_heatmaps >= 1 and n_classes >= 0, "
                         f"got {channels}, {n_heatmaps} and {n_classes}")
    if architecture != "pyramid" and (weights is not None or backbone_arguments):
        raise ValueError(f"architecture {architecture!r} has no backbone to load weights into or to "
                         f"give arguments, got weights {weights!r} and {backbone_arguments}; leave "
                         "them out, or choose pyramid")
    with generators_with_state():
        images = keras.Input((None, None, channels))
        if architecture == "pyramid":
            network = build_pyramid_backbone(backbone, channels, weights, **backbone_arguments)
            features = [pyramid_features(images, network, pyramid_channels, head_channels)]
            multiple, hidden_channels = max(network.output), None
        else:
            table = HOURGLASSES[architecture]
            features = hourglass_features(images, table)
            multiple, hidden_channels = table.multiple, table.widths[0]
        maps = [output_maps(x, n_heatmaps, hidden_channels) for x in features]
        model = cls(keras.Model(images, maps, name="network"), multiple, n_heatmaps, n_classes,
                    class_channels, class_dropout, name="centernet")
    track_generators(model)
    return model


def output_maps(features, n_heatmaps, hidden_channels=None):
    """Features [n, h, w, c] -> the dict that CenterNet.call returns.

    Each map is one 3x3 convolution of the features; with hidden_channels, as in the original, a 3x3
    convolution to so many, ReLU, and a 1x1 convolution.
    """
    maps = {"features": features}
    for name, width, bias in (("heatmap", n_heatmaps, HEATMAP_BIAS),
                              ("size", 2, 0.0), ("offset", 2, 0.0)):
        x, kernel = features, 3
        if hidden_channels:
            x, kernel = layers.Conv2D(hidden_channels, 3, padding="same", activation="relu")(x), 1
        x = layers.Conv2D(width, kernel, padding="same",
                          bias_initializer=keras.initializers.Constant(bias))(x)
        maps[name] = layers.Activation("linear", dtype="float32")(x)  # [n, h, w, width] float32
    return maps
