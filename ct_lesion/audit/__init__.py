"""Checks of datasets before training: are the files sound, are the masks right, do splits leak?

``run.py`` makes all checks, ``page.py`` writes what they find. ``inputs/`` reads what the user
names; ``names.py``, ``images/``, ``masks/``, ``copies/`` and ``classes/`` hold the checks.
"""
