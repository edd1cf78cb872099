"""The networks that Verger compiles. A new one is a line here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network of `keras.applications`.

    name            its class there
    module          its module there, which has its preprocess_input
    feature_length  floats that its global average pool gives, at alpha 1
    has_alpha       it takes a width multiplier
    """

    name: str
    module: str
    feature_length: int
    has_alpha: bool = False
    input_size: int = 224


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("MobileNetV2", "mobilenet_v2", 1280, has_alpha=True),
        Backbone("MobileNetV3Large", "mobilenet_v3", 960, has_alpha=True),
        Backbone("EfficientNetV2B0", "efficientnet_v2", 1280),
        Backbone("ResNet50V2", "resnet_v2", 2048),
    )
}
