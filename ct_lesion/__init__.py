"""ct_lesion: lesions in chest CT, found, segmented and scored with Detectron2.

Importing the package registers its backbone, anchor generator, heads, meta-architectures and
datasets with Detectron2's registries. It changes nothing global: the keys it adds to a config are
added by :func:`ct_lesion.add_ct_lesion_config`.
"""

import warnings

try:
    # what Detectron2 warns of while it is imported is of torch's future, and nobody's to mend here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import detectron2.modeling  # noqa: F401
except ImportError as error:
    raise ImportError(
        "ct_lesion needs Detectron2, which is not importable here. Run `bash tools/setup_env.sh` "
        "in a checkout of ct_lesion, which installs it, or install Detectron2 yourself: "
        "https://detectron2.readthedocs.io/tutorials/install.html"
    ) from error

from . import data, modeling  # imported for their registrations
from .config import add_ct_lesion_config, get_config_file, load_config
from .data.datasets.cncb import register_cncb_lesion
from .data.datasets.covidx_ct import register_covidx_ct
from .prediction.predictor import LesionPredictor
from .version import __version__

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
