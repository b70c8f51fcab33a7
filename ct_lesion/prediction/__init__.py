"""From scans to lesions, classes and a page: what ``tools/predict.py`` runs."""
