#!/usr/bin/env python3
"""Turn slices and masks in CNCB's layout into lesion datasets (COCO json).

Example:
    python tools/prepare_cncb.py ct_lesion_seg.zip \\
        --split-file train=train_split.txt --split-file test=test_split.txt

Writes images/ and annotations/ to DIR, by default the folder from which the registered datasets
cncb_lesion_*, cncb_ggo_consolidation_* and cncb_ggo_* are read. The splits share no patient.
"""

import argparse

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.data.prepare.cncb import find_slices, prepare_cncb
from ct_lesion.data.prepare.cncb_archive import Archive
from ct_lesion.data.prepare.options import (
    add_dataset_options,
    add_slice_window_options,
    print_result,
    split_from_options,
    window_of_slices,
)


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("source", metavar="ARCHIVE", help="ct_lesion_seg.zip, or its folder")
    add_dataset_options(parser)
    add_slice_window_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    archive = Archive(args.source)
    window = window_of_slices(args, archive.path)
    pairs = find_slices(archive)
    split = split_from_options(args, [pair.id for pair in pairs])
    mask_types = args.mask_types or list(MASK_TYPES)
    summaries = prepare_cncb(
        archive, pairs, split, args.output, mask_types, args.min_area, args.overwrite, window
    )
    print_result(summaries, split, len(pairs), args.output)


if __name__ == "__main__":
    run_tool(main)
