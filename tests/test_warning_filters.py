import logging
import warnings

import torch

from ct_lesion.warning_filters import silence_library_warnings


def test_only_the_known_texts_are_silenced(caplog) -> None:
    fx = logging.getLogger("torch.fx._symbolic_trace")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level("WARNING"):
        warnings.simplefilter("always")
        silence_library_warnings()
        torch.meshgrid(torch.arange(2), torch.arange(3))
        warnings.warn("torch.meshgrid is gone", UserWarning, stacklevel=1)
        fx.warning("is_fx_tracing will return true for both fx.symbolic_trace and torch.export.")
        fx.warning("a graph could not be traced")
    assert [str(warning.message) for warning in caught] == ["torch.meshgrid is gone"]
    assert [r.getMessage() for r in caplog.records if r.name == fx.name] == [
        "a graph could not be traced"
    ]
