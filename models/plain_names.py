"""Published backbone names -> where they are built. Data only.

A target is "package:path" as in models.packages, and the arguments that belong to the name. Where
several packages have a network, the one with the published structure and the most weights is named:
kecam for every EfficientNet (the package `efficientnet` divides its drop-connect rate by the depth
of B0, which gives B7 a rate of 0.67 instead of 0.2, and L2 one above 1), keras.applications for the
post-activation ResNets (those of image-classifiers are pre-activation).
"""

PLAIN_NAMES = {
    "resnet18": ("classifiers:resnet18", {}),
    "resnet34": ("classifiers:resnet34", {}),
    "resnet50": ("applications:ResNet50", {}),
    "resnet101": ("applications:ResNet101", {}),
    "resnet152": ("applications:ResNet152", {}),
    "resnet50d": ("kecam:resnet_family.ResNet50D", {}),
    "resnet101d": ("kecam:resnet_family.ResNet101D", {}),
    "resnet152d": ("kecam:resnet_family.ResNet152D", {}),
    "resnext50": ("classifiers:resnext50", {}),  # 32x4d
    "resnext101": ("classifiers:resnext101", {}),
    "seresnet18": ("classifiers:seresnet18", {}),
    "seresnet34": ("classifiers:seresnet34", {}),
    "seresnet50": ("classifiers:seresnet50", {}),
    "seresnext50": ("classifiers:seresnext50", {}),  # 32x4d
    "seresnext101": ("classifiers:seresnext101", {}),
    "senet154": ("classifiers:senet154", {}),
    "densenet121": ("applications:DenseNet121", {}),
    "densenet169": ("applications:DenseNet169", {}),
    "densenet161": ("own:densenet", {"blocks": (6, 12, 36, 24), "growth": 48}),
    "densenet201": ("applications:DenseNet201", {}),
    "dpn92": ("own:dpn", {"variant": "dpn92"}),
    "inception_v4": ("own:inception_v4", {}),
    "inception_resnet_v2": ("applications:InceptionResNetV2", {}),
    "nasnet_large": ("applications:NASNetLarge", {}),
    "pnasnet5large": ("own:pnasnet", {"filters": 216, "cells": 4, "stem_width": 96}),
    "vgg16": ("applications:VGG16", {}),
    **{f"efficientnet_b{i}": (f"kecam:efficientnet.EfficientNetV1B{i}", {}) for i in range(8)},
    "efficientnet_l2": ("kecam:efficientnet.EfficientNetV1L2", {}),
    "efficientnetv2_s": ("kecam:efficientnet.EfficientNetV2S", {}),
    "efficientnetv2_m": ("kecam:efficientnet.EfficientNetV2M", {}),
    "efficientnetv2_l": ("kecam:efficientnet.EfficientNetV2L", {}),
    "efficientnetv2_xl": ("kecam:efficientnet.EfficientNetV2XL", {}),
    "beit_b": ("kecam:beit.BeitBasePatch16", {}),
    "beit_l": ("kecam:beit.BeitLargePatch16", {}),  # BEiT-L/16
    "convnext_tiny": ("kecam:convnext.ConvNeXtTiny", {}),
    "convnext_small": ("kecam:convnext.ConvNeXtSmall", {}),
    "convnext_base": ("kecam:convnext.ConvNeXtBase", {}),
    "convnext_large": ("kecam:convnext.ConvNeXtLarge", {}),
    "wide_resnet10_2": ("own:wide_resnet", {"depth": 10, "width": 2}),
    "wide_resnet16_2": ("own:wide_resnet", {"depth": 16, "width": 2}),
    "wide_resnet16_4": ("own:wide_resnet", {"depth": 16, "width": 4}),
    "wide_resnet28_10": ("own:wide_resnet", {"depth": 28, "width": 10}),
}
