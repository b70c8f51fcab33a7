"""From scans to predictions: lesions, a class, volumes and a page to look at."""
