"""ct_lesion finds, segments and scores lesions in chest CT with Detectron2.

Importing the package registers its backbone, anchor generator, heads, meta-architectures and
datasets in Detectron2's registries. It changes no global config:
:func:`ct_lesion.add_ct_lesion_config` adds its keys to a given config.
"""

import warnings
from typing import TYPE_CHECKING

from .warning_filters import silence_library_warnings

try:
    silence_library_warnings()
    # Detectron2 triggers torch deprecation warnings that we cannot fix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import detectron2.modeling  # noqa: F401
except ImportError as error:
    if (error.name or "").partition(".")[0] != "detectron2":
        raise ImportError(f"Detectron2 cannot be imported: {error}", name=error.name) from error
    raise ImportError(
        "ct_lesion needs Detectron2, which is not installed. Run `ct-lesion install-detectron2`, "
        "or build it yourself: https://detectron2.readthedocs.io/tutorials/install.html",
        name=error.name,
    ) from error

from . import data, modeling  # imported for their registrations
from .config import add_ct_lesion_config, get_config_file, load_config
from .data.datasets.cncb import register_cncb_lesion
from .data.datasets.covidx_ct import register_covidx_ct
from .version import __version__

if TYPE_CHECKING:
    from .prediction.predictor import LesionPredictor

__all__ = [
    "LesionPredictor",
    "__version__",
    "add_ct_lesion_config",
    "data",
    "get_config_file",
    "load_config",
    "modeling",
    "register_cncb_lesion",
    "register_covidx_ct",
]


def __getattr__(name: str) -> type["LesionPredictor"]:
    # imported on first use: it imports the trainer and scikit-learn, which takes a second
    if name == "LesionPredictor":
        from .prediction.predictor import LesionPredictor

        return LesionPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
