"""Speed and memory of ct_lesion, measured by ``python tools/benchmark.py``.

``cases.py`` lists what is measured; ``measure.py`` times two implementations alternately and
``results.py`` writes JSON and Markdown. ``inputs.py`` makes slices and models; the other modules
hold the cases.
"""
