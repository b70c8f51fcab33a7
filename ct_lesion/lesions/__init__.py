"""Lesions of a scan: joined from the detections of its slices, measured and located in lungs."""
