"""How many bits a feature keeps: a float32's 24 significant ones, or float16's 11 in a float32 still.

Spark reads no FLOAT16 of Parquet, and by default no BYTE_STREAM_SPLIT (4.1.1: "Illegal Parquet type", "Unsupported encoding"; 3.5.8
alike). A float32 it reads, and of rounded ones a file has so few values that a dictionary of them is small.
"""

from __future__ import annotations

import numpy as np

from job.contract import Precision
from job.features.litert import Features

CUT = 13  # bits of 24, so that 11 are left
CUT_BITS = np.uint32(2**CUT - 1)


def kept_bits(features: Features, precision: Precision) -> Features:
    """The features (of any shape, finite) as they are stored: the same for "single", rounded for "half"."""
    return rounded(features) if precision == "half" else features


def rounded(features: Features) -> Features:
    """The nearest float32 of 11 significant bits to each, of two the even one, as float16 rounds: |rounded - x| <= 2**-11 |x|.

    The exponent is float32's, so nothing is lost below float16's smallest normal number, 2**-14, and nothing overflows above its
    largest, 65,504. Of float32's own subnormal numbers the bound does not hold, and the largest float32 becomes infinity.
    """
    bits = features.view(np.uint32)
    odd = (bits >> np.uint32(CUT)) & np.uint32(1)
    return ((bits + (CUT_BITS >> np.uint32(1)) + odd) & ~CUT_BITS).view(np.float32)


def is_rounded(features: Features) -> bool:
    """None of these has more bits than `rounded` leaves."""
    return not bool((features.view(np.uint32) & CUT_BITS).any())
