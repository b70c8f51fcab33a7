#!/usr/bin/env python3
"""Turn scans with lesion masks, in volumes, into the COCO json files that ct_lesion trains on.

Examples:
    python tools/prepare_volumes.py --images scans --masks masks \\
        --labels 1=lung 2=ggo 3=consolidation --output datasets/cncb
    python tools/prepare_volumes.py --pairs pairs.csv --labels 1=lesion --output datasets/cncb

Volumes are NIfTI, NRRD or MetaImage files. In two folders they are paired by name (a.nii.gz with
a.nrrd), and each pair counts as one patient. A CSV file has the columns patient, image and mask;
an image may be a folder with a DICOM series there. Writes what tools/prepare_cncb.py writes: a
PNG a slice and json files by split. No patient is ever in two splits.
"""

import argparse

from ct_lesion.data.prepare.options import add_dataset_options, print_result, split_as_told
from ct_lesion.data.prepare.volume_pairs import LABEL_NAMES, LabelMap, pair_folders, read_pair_list
from ct_lesion.data.prepare.volumes import check_pairs, prepare_volumes
from ct_lesion.errors import DatasetError, run_tool
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.windows import WINDOWS, choose_window


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_argument_group("volumes", "two folders, or a list")
    source.add_argument("--images", metavar="DIR", help="folder of CT volumes")
    source.add_argument("--masks", metavar="DIR", help="folder of their masks, of the same names")
    source.add_argument("--pairs", metavar="CSV", help="list with columns patient, image, mask")
    parser.add_argument(
        "--labels",
        nargs="+",
        required=True,
        metavar="VALUE=NAME",
        help=f"what the masks' values mean: {', '.join(LABEL_NAMES)}; 0 is background",
    )
    parser.add_argument("--window", choices=list(WINDOWS), help="display window (default: lung)")
    parser.add_argument("--window-level", type=float, metavar="HU", help="or its centre")
    parser.add_argument("--window-width", type=float, metavar="HU", help="and its full width")
    parser.add_argument(
        "--hu", type=float, metavar="OFFSET", help="the volumes hold HU plus this number"
    )
    add_dataset_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if bool(args.pairs) == bool(args.images or args.masks) or bool(args.images) != bool(args.masks):
        raise DatasetError("Give --images and --masks, or --pairs.")
    labels = LabelMap(args.labels)
    mask_types = labels.mask_types(args.mask_types)
    window = choose_window(args.window, args.window_level, args.window_width)
    options = ReadOptions(hu_offset=args.hu, window=window)
    if args.pairs:
        pairs, problems = read_pair_list(args.pairs)
    else:
        pairs, problems = pair_folders(args.images, args.masks)
    checked = check_pairs(pairs, problems, labels, options)
    slices = [slice_id for item in checked for slice_id in item.slice_ids]
    split = split_as_told(args, slices)
    summaries = prepare_volumes(
        checked,
        split,
        labels,
        args.output,
        mask_types=mask_types,
        min_area=args.min_area,
        overwrite=args.overwrite,
        options=options,
    )
    print_result(summaries, split, len(slices), args.output)
    remarks = [remark for item in checked for remark in item.remarks]
    if remarks:
        print("\nWorth knowing:", *remarks, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
