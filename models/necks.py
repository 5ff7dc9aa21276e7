"""What stands between backbone and head: feature map [n, h, w, c] -> feature vector [n, c'].

Both necks are of the 1st place of Cdiscount 2017, where 512 or 2,048 features are few for 5,270
classes. Each neck is a function of (feature map, pooling layer, number of classes, width or None);
width, the channels it gives, is >= 1, and None the published one.
"""
from tensorflow import keras

from models.registry import Registry

layers = keras.layers
NECKS = Registry("neck")


def no_neck(x, pooling, n_classes, width):
    """The pooled features [n, c], float32."""
    return pooling(x)


def bottleneck(x, pooling, n_classes, width):
    """A 1x1 convolution, pooling, a dense layer; BatchNorm and ReLU after both: [n, width].

    Published width: the number of classes.
    """
    width = width or n_classes
    x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name="neck_conv")(x)
    x = _norm_relu(x, "neck_conv")  # [n, h, w, width]
    x = pooling(x)
    x = layers.Dense(width, use_bias=False, kernel_initializer="he_normal", name="neck_dense")(x)
    return _norm_relu(x, "neck_dense")


def two_fc(x, pooling, n_classes, width):
    """Pooling and two dense layers with ReLU: [n, width]. Published width: 4,096.

    Simonyan and Zisserman (VGG), 2014, arXiv:1409.1556, flatten the map; here it is pooled, so
    that the weights do not depend on the input's size (with VGG's they are 25,088 x 4,096).
    """
    x = pooling(x)
    for name in ("neck_fc1", "neck_fc2"):
        x = layers.Dense(width or 4096, activation="relu", kernel_initializer="he_normal", name=name)(x)
    return x


def _norm_relu(x, name):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


NECKS.add("none", no_neck)
NECKS.add("bottleneck", bottleneck)
NECKS.add("two_fc", two_fc)
