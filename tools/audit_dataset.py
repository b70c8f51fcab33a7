#!/usr/bin/env python3
"""Find leaks between splits, damaged files, wrong masks and shortcuts in data.

INPUT is a registered dataset (cncb_lesion_train, covidx_ct_test, ...), a json file (COCO, or
written by tools/prepare_covidx_ct.py), a list of slices (COVIDx-CT list, training sample or lesion
split), or a folder (CNCB's image/ and mask/, CNCB's class folders, or scans of any kind). IMAGES is
the image folder of a json file or list. Inputs of the same GROUP may overlap; two groups must not
share a patient, scan or image. An input without GROUP= is its own group.

Examples:
    python tools/audit_dataset.py train=cncb_lesion_train test=cncb_lesion_test
    python tools/audit_dataset.py lesions=cncb_lesion_train test=covidx_ct_test \\
        external=my_hospital/ --output output/audit
    python tools/audit_dataset.py train=train_COVIDx_CT-1.txt val=val_COVIDx_CT-1.txt \\
        test=test_COVIDx_CT-1.txt
    python tools/audit_dataset.py train=a.json:images test=b.json:images

Writes audit.html (a single file that needs no network) and audit.json to DIR. Exit code: 0 without
errors, 10 with errors (with --strict, also with warnings), 2 for wrong usage or unreadable inputs.
docs/audit.md explains the findings.
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
from ct_lesion.files import locked_folder

FAILED = 10  # exit code


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="[GROUP=]INPUT[:IMAGES]", help="datasets to check, see below")
    text = "output folder (default: %(default)s)"
    add("--output", type=Path, default=Path("output/audit"), metavar="DIR", help=text)
    add("--overwrite", action="store_true", help="replace an earlier audit in DIR")
    add("--strict", action="store_true", help="exit with code 10 for warnings too")
    add("--no-images", action="store_true", help="compare names and lists without opening images")
    add(
        "--same-numbers",
        action="store_true",
        help="treat equal patient numbers in inputs of different sources as one patient",
    )
    add(
        "--patient-ids-per-class",
        action="store_true",
        help="treat NCP_96 and CP_96 in lists and class folders as two patients",
    )
    add(
        "--trial",
        type=int,
        default=0,
        metavar="N",
        help="measure recall and precision of the copy search on copies of N of the images, e.g. "
        "200 (default: %(default)s, no trial)",
    )
    add("--seed", type=int, default=0, help="seed of resampling and trial (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.trial < 0:
        raise UserError(f"--trial must be 0 or more, not {args.trial}.")
    options = AuditOptions(
        same_numbers=args.same_numbers,
        images=not args.no_images,
        trial=args.trial,
        seed=args.seed,
    )
    with locked_folder(args.output):
        check_output(args.output, args.overwrite)
        audit = run_audit(read_inputs(args.inputs, args.patient_ids_per_class), options)
        paths = write_audit(audit, args.output)
    for finding in audit.findings:
        if finding.severity is not Severity.NOTE:
            print(f"{finding.severity}: {finding.what}")
    for why, checks in by_reason(audit.not_checked).items():
        print(f"not checked: {'; '.join(checks)}: {why}")
    print(verdict(audit))
    print("Written:", *paths, sep="\n  ")
    sys.exit(FAILED if audit.fails(args.strict) else 0)


if __name__ == "__main__":
    run_tool(main)
