#!/usr/bin/env python3
"""Turn CT volumes and their masks into lesion datasets (COCO json).

Examples:
    python tools/prepare_volumes.py --images scans --masks masks \\
        --labels 1=lung 2=ggo 3=consolidation --output datasets/cncb
    python tools/prepare_volumes.py --pairs pairs.csv --labels 1=lesion --output datasets/cncb

Volumes are NIfTI, NRRD or MetaImage files. Volumes in two folders are paired by name (a.nii.gz
with a.nrrd), and each pair counts as one patient. A CSV file has the columns patient, image and
mask; its images may also be folders with a DICOM series. Writes a PNG per slice and a json file per
split to --output, like tools/prepare_cncb.py. The json records how the slices were made from HU,
and prediction with the trained weights repeats it. The splits share no patient.
"""

import argparse

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.prepare.options import add_dataset_options, print_result, split_from_options
from ct_lesion.data.prepare.volume_pairs import LABEL_NAMES, LabelMap, pair_folders, read_pair_list
from ct_lesion.data.prepare.volumes import check_pairs, prepare_volumes
from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.window_options import add_window_options, window_from_options


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    source = parser.add_argument_group("volumes", "give two folders or a list")
    source.add_argument("--images", metavar="DIR", help="folder of CT volumes")
    source.add_argument("--masks", metavar="DIR", help="folder of the masks, with the same names")
    source.add_argument("--pairs", metavar="CSV", help="list with columns patient, image, mask")
    parser.add_argument(
        "--labels",
        nargs="+",
        required=True,
        metavar="VALUE=NAME",
        help=f"what the mask values mean: {', '.join(LABEL_NAMES)}; 0 is background",
    )
    add_window_options(parser, "HU window (default: lung)")
    parser.add_argument("--hu", type=float, metavar="OFFSET", help="the volumes hold HU + OFFSET")
    add_dataset_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if bool(args.pairs) == bool(args.images or args.masks) or bool(args.images) != bool(args.masks):
        raise DatasetError("Give either --images and --masks, or --pairs.")
    labels = LabelMap(args.labels)
    mask_types = labels.mask_types(args.mask_types)
    options = ReadOptions(hu_offset=args.hu, window=window_from_options(args))
    if args.pairs:
        pairs, problems = read_pair_list(args.pairs)
    else:
        pairs, problems = pair_folders(args.images, args.masks)
    checked = check_pairs(pairs, problems, labels, options)
    slices = [slice_id for item in checked for slice_id in item.slice_ids]
    split = split_from_options(args, slices)
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
        print("\nNotes:", *remarks, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
