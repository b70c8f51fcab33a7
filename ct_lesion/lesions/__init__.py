"""Lesions of a scan: detections of its slices joined in space, their measures and their place."""
