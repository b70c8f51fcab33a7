"""Finds and opens scans, and reads their findings."""

from ct_lesion.scans.scan import ReadOptions, Scan
from ct_lesion.scans.sources import find_scans


def scans_in(*inputs) -> dict[str, Scan]:
    return {s.name: s.open() for s in find_scans(inputs, options=ReadOptions())}


def codes(scan: Scan) -> set[str]:
    return {finding.code for finding in scan.qc}


def message(scan: Scan, code: str) -> str:
    return next(finding.message for finding in scan.qc if finding.code == code)
