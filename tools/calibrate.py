#!/usr/bin/env python3
"""Fit a temperature on validation predictions and save it with the weights.

Example:
    python tools/train_net.py --config-file RUN/config.yaml --eval-only \\
        MODEL.WEIGHTS RUN/model_best.safetensors DATASETS.TEST "('covidx_ct_test','covidx_ct_val')"
    python tools/calibrate.py RUN

Evaluates nothing itself: the example's first command evaluates the validation set, the second fits
the temperature. Dividing the logits by the temperature calibrates the probabilities and leaves the
predicted classes unchanged. The temperature is written into the description of each .safetensors
file in RUN that holds the evaluated weights.
"""

import argparse
import json
from pathlib import Path

from ct_lesion.checkpoint import update_description
from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.evaluation.calibration import fit_temperature
from ct_lesion.files import locked_folder
from ct_lesion.report.runs.results import choose_validation
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import load_runs


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a classification run")
    text = 'dataset to fit on (default: the one whose name ends in "_val")'
    parser.add_argument("--validation", metavar="DATASET", help=text)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    (run,) = load_runs([args.run])
    validation = choose_validation(run.classification, args.validation)
    if validation is None:
        raise RunError(
            f"{run.folder} holds no evaluation of a classifier on "
            f"{args.validation or 'a validation set'}, only on "
            f"{', '.join(run.classification) or 'no dataset'}. Evaluate the validation set first."
        )
    temperature = fit_temperature(validation.labels, validation.logits)
    content = json.dumps({"value": temperature, "fitted_on": validation.dataset})
    paths = run.weights_files(validation.record)
    with locked_folder(run.folder):
        for path in paths:
            update_description(path, {"temperature": content})
    print(f"Temperature {temperature:.4f}, fitted on {len(validation.labels)} slices.")
    print("Written into:", *paths, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
