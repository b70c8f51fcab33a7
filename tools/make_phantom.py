#!/usr/bin/env python
"""Make a synthetic chest CT data set ("phantom"): slices in the layouts of CNCB and COVIDx-CT, or
whole scans with their lesions as masks.

examples:
  python tools/make_phantom.py --output datasets/phantom --size 256 --seed 0
  python tools/make_phantom.py --output phantom_scans --as dicom
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from ct_lesion.phantom.slice_sets import PhantomSpec, write_phantom
from ct_lesion.phantom.volumes import FORMATS, VolumeSpec, write_phantom_volumes


def parse_args(argv: list[str] | None = None) -> tuple[Path, bool, PhantomSpec | VolumeSpec]:
    """Arguments as output folder, whether to overwrite, and what to make."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    d, v = PhantomSpec(), VolumeSpec(FORMATS[0])

    def number(name: str, text: str) -> None:
        p.add_argument(name, type=int, default=argparse.SUPPRESS, metavar="N", help=text)

    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")
    p.add_argument(
        "--as",
        dest="form",
        default="slices",
        choices=("slices", *FORMATS),
        help="slices in the layouts of the real data sets (default), or whole scans with masks",
    )
    number("--size", f"pixels along a side: 256 or 512 (default: {d.size})")
    number("--seed", f"same seed, same files (default: {d.seed})")
    number(
        "--patients-per-class",
        f"of NCP, CP and Normal each; slices: in covidx/, 0 or at least 3 (default: "
        f"{d.patients_per_class}),\nscans: at least 1 (default: {v.patients_per_class})",
    )
    number(
        "--slices-per-scan",
        f"slices of each of them (default: {d.slices_per_scan}, of whole scans "
        f"{v.slices_per_scan})",
    )
    number(
        "--lesion-patients",
        f"slices only: COVID-19-like patients with masks, in ct_lesion_seg/ (default: "
        f"{d.lesion_patients})",
    )
    number(
        "--slices-per-patient",
        f"slices only: slices of each of them (default: {d.slices_per_patient})",
    )
    p.add_argument("--overwrite", action="store_true", help="replace an earlier phantom")
    args = vars(p.parse_args(argv))
    output, overwrite, form = args.pop("output"), args.pop("overwrite"), args.pop("form")
    if form == "slices":
        return output, overwrite, PhantomSpec(**args)
    for name in ("lesion_patients", "slices_per_patient"):
        if name in args:
            p.error(f"--{name.replace('_', '-')} is for --as slices only")
    return output, overwrite, VolumeSpec(form, **args)


def summary(output: Path, manifest: dict) -> str:
    """What was made and where, a line for each set."""
    lines = []
    if "scans" in manifest:
        lines.append(f"{output / 'scans'}: {len(manifest['scans'])} whole scans, masks beside them")
        lines.append(f"{output / 'pairs.csv'}: patient, image, mask and class of each")
    a = manifest.get("ct_lesion_seg", {"patients": 0})
    if a["patients"]:
        lines.append(
            f"{output / 'ct_lesion_seg'}: {a['patients']} patients, {a['slices']} slices "
            f"({a['slices_with_lesion']} with lesions), {a['lesions']} lesions"
        )
    if c := manifest.get("covidx"):
        lines.append(f"{output / 'covidx'}: {c['patients']} patients, {c['slices']} slices")
        for split, count in c["listed"].items():
            each = ", ".join(f"{name} {n}" for name, n in count.items())
            lines.append(f"{output / 'covidx' / split}_COVIDx_CT.txt: {each}")
    lines.append(f"{output / 'phantom.json'}: the arguments and these counts")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; 2 is the exit code of a user's mistake, 130 that of Ctrl-C."""
    output, overwrite, spec = parse_args(argv)
    try:
        # The delay keeps a refusal to one line: no bar for what never started.
        with tqdm(total=spec.patients, unit="patient", desc="phantom", delay=0.2) as bar:
            write = write_phantom if isinstance(spec, PhantomSpec) else write_phantom_volumes
            manifest = write(output, spec, overwrite=overwrite, progress=lambda _: bar.update())
    except (ValueError, OSError) as error:
        print(f"make_phantom: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_phantom: interrupted, nothing was written", file=sys.stderr)
        return 130
    print(summary(output, manifest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
