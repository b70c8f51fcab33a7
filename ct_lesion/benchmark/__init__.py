"""Speed and memory, measured side by side: each row compares two ways to do one piece of work.

``timing.py`` alternates the two ways, ``row.py`` says what a row is and keeps the list of them,
``memory.py`` measures a process, ``results.py`` writes JSON and Markdown, ``slices.py`` and
``models.py`` make what is measured on; the rows are in the modules named ``*_rows.py``.
"""
