"""The Jinja environment of all pages, and the disclaimer that each page shows.

``base.html`` and ``base.css`` are the frame and the style of every page; ``sections.html`` is a
page of titled sections (a report, an audit), whose blocks the macro in ``blocks.html`` renders.
"""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Caution, Picture
from .tables import Table

DISCLAIMER = "For research use only. Not for clinical use."


def page_environment(package: str) -> Environment:
    """An environment with the shared templates and those of a package.

    Templates can use ``disclaimer``, ``source("name")`` for the verbatim text of a stylesheet or
    script, and the tests ``table``, ``picture`` and ``caution`` for the kinds of blocks. An
    undefined variable, or NaN given to ``tojson``, raises an error.

    Args:
        package: with a ``templates`` folder, e.g. ``"ct_lesion.audit"``.
    """
    loader = ChoiceLoader([PackageLoader(name) for name in ("ct_lesion.pages", package)])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    for name, kind in (("table", Table), ("picture", Picture), ("caution", Caution)):
        environment.tests[name] = lambda block, kind=kind: isinstance(block, kind)

    def source(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])

    environment.globals.update(disclaimer=DISCLAIMER, source=source)
    return environment
