#!/usr/bin/env python3
"""List the trained models that ship with ct_lesion.

Examples:
    python tools/models.py
    python tools/predict.py scan.nii.gz --segmentation ct_lesion://public_ct_resnet18_t1
    python tools/train_net.py --config-file configs/segmentation/public_ct_resnet18_t1.yaml \\
        MODEL.WEIGHTS ct_lesion://public_ct_resnet18_t1

Prints the name, training data, metrics and licence of each model, and the paths of its weights and
its model card. The metrics come from cross-validation over patients. docs/model_zoo.md compares the
models. For research use only. Not for clinical use.
"""

from ct_lesion.checkpoint import DEFAULT_MODEL, list_shipped
from ct_lesion.checkpoint.shipped import SHIPPED_SCHEME
from ct_lesion.command_line import run_tool, tool_parser


def main() -> None:
    tool_parser(__doc__).parse_args()
    for model in list_shipped():
        path, about, metrics = model["path"], model["about"], model["metrics"]
        name = f"{SHIPPED_SCHEME}{path.stem}"
        print(f"{name}{' (default)' if name == DEFAULT_MODEL else ''}")
        print(f"  trained on  {about.trained_on}")
        print(f"  metrics     {', '.join(f'{key} {value:g}' for key, value in metrics.items())}")
        print(f"  licence     {about.licence}")
        print(f"  file        {path}, {path.stat().st_size / 1e6:.1f} MB")
        print(f"  model card  {path.with_suffix('.md')}")


if __name__ == "__main__":
    run_tool(main)
