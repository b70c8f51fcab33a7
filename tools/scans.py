#!/usr/bin/env python3
"""List DICOM series in files, folders and zips, and whether each can be read.

Examples:
    python tools/scans.py dicom_folder
    python tools/scans.py export.zip --json series.json
    python tools/predict.py dicom_folder --series-uid 1.2.840.113619.2.55.3

INPUT is a DICOM file, a zip, a folder of these, or a glob pattern. Prints for each series its
number, slices, slice spacing, thickness, pixel size, kernel, patient and description, then its UID
and, if it is refused, the reason. Several series of one patient are often reconstructions of the
same scan with other kernels or thicknesses; choose one with --series-uid of tools/predict.py. Only
headers are read, so a series that is accepted here may still be refused for its pixels. Names and
IDs of patients are printed as they are in the files.
"""

import argparse
import json
from pathlib import Path

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import printable
from ct_lesion.files import write_together
from ct_lesion.scans.listing import list_series, table


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="where to look, see below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the list as JSON")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    listing = list_series(args.inputs)
    if listing.series:
        print(printable(table(listing)))
    for other in listing.others:
        print(printable(f"not DICOM: {other}"))
    for note in listing.notes:
        print(printable(note))
    accepted = sum(series.refused is None for series in listing.series)
    print(f"\n{len(listing.series)} DICOM series, {accepted} accepted.")
    if args.json:
        content = json.dumps(listing.as_dict(), indent=2, ensure_ascii=False) + "\n"
        write_together({args.json: content})
        print(printable(f"JSON: {args.json}"))


if __name__ == "__main__":
    run_tool(main)
