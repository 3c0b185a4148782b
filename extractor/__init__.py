"""Photo bytes -> RGB array -> unit descriptor. For serving: onnxruntime and Pillow, no torch."""

from .cores import available_cores, in_order
from .descriptor.choice import choose_extractor, int8_beside, open_extractor
from .descriptor.extractor import DEFAULT_MODEL, BadModel, Extractor, ModelCard, read_card
from .descriptor.sealing import is_sealed, seal
from .keypoints.sift import LocalFeatures, local_features
from .keypoints.xfeat import XFeatKeypoints, read_matching_model
from .photo.crop import Region
from .photo.decode import (
    Decoded,
    decode,
    encode_jpeg,
    read,
    read_bytes,
    read_photo,
    read_size,
    read_stream,
    resize,
)
from .photo.decoder import decoder_for
from .photo.errors import BadPhoto, ImageTooLarge, UnsupportedImage
from .photo.files import open_regular, read_at_most, same_name
from .photo.formats import SUFFIXES, format_of
from .photo.limits import OWNER, VISITOR, WORKING_SIDE, BadLimit, Limits, owner_limits
from .photo.text import decode_text, read_text
