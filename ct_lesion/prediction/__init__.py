"""Prediction of scans: lesions, a class, label volumes and a page."""
