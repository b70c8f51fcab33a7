#!/usr/bin/env python3
"""Make synthetic chest CT, as slices in the layouts of the datasets or as scans.

Examples:
    python tools/make_phantom.py --output datasets/phantom --size 256 --seed 0
    python tools/make_phantom.py --output phantom_scans --as dicom

Writes to DIR: slices in the layouts of CNCB and COVIDx-CT, or whole scans with lesion masks, and
phantom.json with the arguments. The same arguments always make the same files.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError
from ct_lesion.phantom.slice_sets import PhantomSpec, write_phantom
from ct_lesion.phantom.volumes import FORMATS, VolumeSpec, write_phantom_volumes

ONLY_SLICES = ("lesion_patients", "slices_per_patient")


def parse_arguments() -> argparse.Namespace:
    """The namespace lacks the numbers that were not given."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    slices, scans = PhantomSpec(), VolumeSpec(FORMATS[0])

    def add_number(name: str, text: str) -> None:
        add(name, type=int, default=argparse.SUPPRESS, metavar="N", help=text)

    add("--output", type=Path, required=True, metavar="DIR", help="output folder")
    add(
        "--as",
        dest="form",
        default="slices",
        choices=("slices", *FORMATS),
        help="slices in the layouts of the real datasets (default), or whole scans with masks",
    )
    add_number("--size", f"pixels along a side: 256 or 512 (default: {slices.size})")
    add_number("--seed", f"random seed (default: {slices.seed})")
    add_number(
        "--patients-per-class",
        "patients of each class, NCP, CP and Normal: for slices 0 or at least 3 (default: "
        f"{slices.patients_per_class}), for scans at least 1 (default: {scans.patients_per_class})",
    )
    add_number(
        "--slices-per-scan",
        f"slices of each patient of --patients-per-class (default: {slices.slices_per_scan}, for "
        f"whole scans {scans.slices_per_scan})",
    )
    add_number(
        "--lesion-patients",
        f"patients with COVID-19 lesions and masks (default: {slices.lesion_patients}; not for "
        "whole scans)",
    )
    add_number(
        "--slices-per-patient",
        f"slices of each patient of --lesion-patients (default: {slices.slices_per_patient}; not "
        "for whole scans)",
    )
    add("--overwrite", action="store_true", help="replace an earlier phantom")
    return parser.parse_args()


def choose_spec(form: str, numbers: dict[str, int]) -> PhantomSpec | VolumeSpec:
    if form == "slices":
        return PhantomSpec(**numbers)
    for name in ONLY_SLICES:
        if name in numbers:
            raise UserError(f"--{name.replace('_', '-')} is only for --as slices.")
    return VolumeSpec(form, **numbers)


def summary(output: Path, manifest: dict) -> str:
    """What was made and where, a line for each set."""
    lines = []
    if "scans" in manifest:
        lines.append(f"{output / 'scans'}: {len(manifest['scans'])} whole scans with masks")
        lines.append(f"{output / 'pairs.csv'}: patient, image, mask and class of each scan")
    archive = manifest.get("ct_lesion_seg", {"patients": 0})
    if archive["patients"]:
        lines.append(
            f"{output / 'ct_lesion_seg'}: {archive['patients']} patients, {archive['slices']} "
            f"slices ({archive['slices_with_lesion']} with lesions), {archive['lesions']} lesions"
        )
    if covidx := manifest.get("covidx"):
        lines.append(
            f"{output / 'covidx'}: {covidx['patients']} patients, {covidx['slices']} slices"
        )
        for split, counts in covidx["listed"].items():
            each = ", ".join(f"{name} {count}" for name, count in counts.items())
            lines.append(f"{output / 'covidx' / split}_COVIDx_CT.txt: {each}")
    lines.append(f"{output / 'phantom.json'}: the arguments and these counts")
    return "\n".join(lines)


def main() -> None:
    args = vars(parse_arguments())
    output, overwrite, form = args.pop("output"), args.pop("overwrite"), args.pop("form")
    spec = choose_spec(form, args)
    write = write_phantom if isinstance(spec, PhantomSpec) else write_phantom_volumes
    # the delay: no bar before an error message
    options = {"unit": "patient", "desc": "phantom", "delay": 0.2}
    with tqdm(total=spec.patients, disable=None, **options) as bar:
        manifest = write(output, spec, overwrite=overwrite, progress=lambda _: bar.update())
    print(summary(output, manifest))


if __name__ == "__main__":
    run_tool(main)
