"""Pictures of a predicted scan: slices with outlines, projections, and a report to show."""
