"""One file a job: its arguments and the call that does it.

In a checkout each runs as ``python tools/JOB.py``. Installed, the folder is the package
``ct_lesion_tools``, and ``ct-lesion JOB`` runs the same files. Importing the package imports
neither torch nor ct_lesion.
"""
