#!/usr/bin/env python
"""Make a synthetic chest CT data set ("phantom") in the layouts of CNCB and COVIDx-CT.

example:
  python tools/make_phantom.py --output datasets/phantom --size 256 --seed 0
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from ct_lesion.data.phantom_files import PhantomSpec, write_phantom


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults beside each option, the example as it is written."""


def parse_args(argv: list[str] | None = None) -> tuple[Path, bool, PhantomSpec]:
    """Arguments as output folder, whether to overwrite, and what to make."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    d = PhantomSpec()
    p.add_argument(
        "--output", type=Path, required=True, default=argparse.SUPPRESS, help="folder to make"
    )
    p.add_argument("--size", type=int, default=d.size, help="pixels along a side: 256 or 512")
    p.add_argument("--seed", type=int, default=d.seed, help="same seed, same files")
    p.add_argument(
        "--lesion-patients",
        type=int,
        default=d.lesion_patients,
        metavar="N",
        help="COVID-19-like patients with lesion masks, in ct_lesion_seg/",
    )
    p.add_argument(
        "--slices-per-patient",
        type=int,
        default=d.slices_per_patient,
        metavar="N",
        help="slices of each of them",
    )
    p.add_argument(
        "--patients-per-class",
        type=int,
        default=d.patients_per_class,
        metavar="N",
        help="other patients of each of NCP, CP and Normal, in covidx/; 0 for none, else 3 or more",
    )
    p.add_argument(
        "--slices-per-scan",
        type=int,
        default=d.slices_per_scan,
        metavar="N",
        help="slices of each of them",
    )
    p.add_argument("--overwrite", action="store_true", help="replace an earlier phantom")
    args = vars(p.parse_args(argv))
    output, overwrite = args.pop("output"), args.pop("overwrite")
    return output, overwrite, PhantomSpec(**args)


def summary(output: Path, manifest: dict) -> str:
    """What was made and where, a line for each set."""
    a, lines = manifest["ct_lesion_seg"], []
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
            manifest = write_phantom(
                output, spec, overwrite=overwrite, progress=lambda _: bar.update()
            )
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
