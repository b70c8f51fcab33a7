#!/usr/bin/env python3
"""Check datasets: leaks between splits, damaged files, shortcuts.

Each INPUT is a dataset that is registered (cncb_lesion_train, covidx_ct_test, ...), a json file
(COCO's, or of tools/prepare_covidx_ct.py), a list of slices (COVIDx-CT's, a training sample, or a
lesion split), or a folder (CNCB's image/ and mask/, CNCB's classes, or scans of any kind). :IMAGES
after a json file or a list is the folder of its images. Inputs of one GROUP belong together; no
patient, scan or image may be in two groups. Without GROUP= an input is a group of its own.

Examples:
    python tools/audit_dataset.py train=cncb_lesion_train test=cncb_lesion_test
    python tools/audit_dataset.py lesions=cncb_lesion_train test=covidx_ct_test \\
        external=my_hospital/ --output output/audit
    python tools/audit_dataset.py train=train_COVIDx_CT-1.txt val=val_COVIDx_CT-1.txt \\
        test=test_COVIDx_CT-1.txt
    python tools/audit_dataset.py train=a.json:images test=b.json:images

Writes audit.html (one file, no network) and audit.json. Exit code: 0 no errors found, 10 errors
found (with --strict: or warnings), 2 wrong usage or nothing to read. See docs/audit.md.
"""

import argparse
import sys
from pathlib import Path

import ct_lesion  # noqa: F401 registers the datasets
from ct_lesion.audit.findings import Severity, by_reason
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.page import check_output, verdict, write_audit
from ct_lesion.audit.run import AuditOptions, run_audit
from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError

FOUND = 10


def parse_arguments() -> argparse.Namespace:
    defaults = AuditOptions()
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="[GROUP=]INPUT[:IMAGES]", help="what to check, see below")
    output = Path("output/audit")
    add("--output", type=Path, default=output, metavar="DIR", help="where to write (%(default)s)")
    add("--overwrite", action="store_true", help="replace an audit in DIR")
    add("--strict", action="store_true", help="exit code 10 for warnings too")
    add("--no-images", action="store_true", help="open no image: compare names and lists only")
    add(
        "--same-numbers",
        action="store_true",
        help="a patient number is one person in all inputs, wherever they come from",
    )
    add(
        "--patient-ids-per-class",
        action="store_true",
        help="in lists and class folders NCP_96 and CP_96 are two people",
    )
    add(
        "--trial-images",
        type=int,
        default=defaults.trial_images,
        metavar="N",
        help="make copies of N of the images to try the search for copies; 0: no (%(default)s)",
    )
    add(
        "--pictures",
        type=int,
        default=defaults.pictures,
        metavar="N",
        help="pairs of copies on the page (%(default)s)",
    )
    add("--seed", type=int, default=defaults.seed, help="of resampling and trial (%(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.trial_images < 0 or args.pictures < 0:
        raise UserError("--trial-images and --pictures must be 0 or more.")
    check_output(args.output, args.overwrite)
    options = AuditOptions(
        same_numbers=args.same_numbers,
        images=not args.no_images,
        trial_images=args.trial_images,
        pictures=args.pictures,
        seed=args.seed,
    )
    audit = run_audit(read_inputs(args.inputs, args.patient_ids_per_class), options)
    paths = write_audit(audit, args.output)
    for finding in audit.findings:
        if finding.severity is not Severity.NOTE:
            print(f"{finding.severity}: {finding.what}")
    for why, checks in by_reason(audit.not_checked).items():
        print(f"not checked: {'; '.join(checks)}: {why}")
    print(verdict(audit))
    print("Written:", *paths, sep="\n  ")
    sys.exit(FOUND if audit.fails(args.strict) else 0)


if __name__ == "__main__":
    run_tool(main)
