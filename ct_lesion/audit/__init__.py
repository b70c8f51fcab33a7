"""Checks datasets before training for damaged files, wrong masks, leaks and shortcuts.

``run.py`` runs all checks, ``page.py`` writes the findings. ``inputs/`` reads the datasets;
``names.py``, ``images/``, ``masks/``, ``copies/`` and ``classes/`` hold the checks.
"""
