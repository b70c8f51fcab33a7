#!/usr/bin/env bash
# All steps of ct_lesion on synthetic CT, in minutes on a CPU: see --help.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
OUT="$ROOT/output/quickstart"
PATIENTS_PER_CLASS=100
SLICES_PER_CLASS=270 # in the training sample, from three fifths of the patients

usage() {
  cat <<TEXT
usage: bash tools/quickstart.sh [OUTPUT]

Sets up the environment, makes synthetic chest CT, trains a lesion segmenter, derives
COVID-CT-Mask-Net from it and trains the classifier, evaluates both on held-out patients, draws
predictions beside ground truth, makes the report with the paper's tables and figures, and predicts
a whole scan from DICOM files. Takes about five minutes on two CPU cores after the set-up.
All files go to OUTPUT (default: output/quickstart); those of an earlier quickstart are replaced.
TEXT
}

step() { printf '\n== %s\n' "$*"; }

# thin_out N: drops progress lines except each N-th, as they come.
thin_out() {
  local line progress=0 batches=0
  while IFS= read -r line; do
    case "$line" in
      *eta:* | *ETA=*) ((progress++ % $1 == 0)) || continue ;;
      *': RoI batches of'*) ((batches++ % 4 == 0)) || continue ;;
    esac
    printf '%s\n' "$line"
  done
}

# train NAME CONFIG N [KEY VALUE ...]: the log goes to a file, and its main lines with each N-th
# progress line to the terminal.
train() {
  local name="$1" config="$2" n="$3"
  shift 3
  python tools/train_net.py --config-file "$config" OUTPUT_DIR "$OUT/$name" "$@" 2>&1 |
    tee "$OUT/$name.console.txt" |
    { grep --line-buffered -E 'eta: |ETA=|^Error|^No GPU|parameters \(|RoI batches of' || true; } |
    thin_out "$n" |
    sed -u -E 's/^\[[^]]*\]: +//; s/ last_time.*lr:/ lr:/' ||
    { tail -n 20 "$OUT/$name.console.txt" >&2 && exit 1; }
}

# Prepares the classes from the phantom's lists and images in COVIDx-CT's form.
prepare_classes() {
  local lists=() name
  for name in train val test; do
    lists+=("--$name-list" "$OUT/phantom/covidx/${name}_COVIDx_CT.txt")
  done
  python tools/prepare_covidx_ct.py --image-root "$OUT/phantom/covidx" "${lists[@]}" \
    --per-class "$SLICES_PER_CLASS" --output "$OUT/datasets/covidx_ct" | only '^dataset| all '
}

# only PATTERN: keeps the lines of a tool that a first run needs.
only() { grep -E "$1" || true; }

# show NAME FIRST LAST: prints the part of a run's log between two patterns, without table rules.
show() {
  sed -n "/$2/,/$3/p" "$OUT/$1.console.txt" |
    sed -E '/^[-|: ]+$/d; s/^.*\[[0-9/ :]+ [a-z0-9_.]+\][^:]*: //'
}

main() {
  case "${1:-}" in -h | --help) usage && exit ;; esac
  [[ -z "${1:-}" ]] || OUT="$(mkdir -p "$1" && cd "$1" && pwd)"
  bash "$ROOT/tools/setup_env.sh"
  local venv="${CT_LESION_VENV:-$ROOT/.venv}"
  [[ "$venv" == /* ]] || venv="$PWD/$venv"
  export PATH="$venv/bin:$PATH" DETECTRON2_DATASETS="$OUT/datasets"
  export PYTHONWARNINGS=ignore # Detectron2, Pillow and torch warn a lot about each other
  cd "$ROOT"
  mkdir -p "$OUT"
  SECONDS=0

  step "1/8 synthetic chest CT"
  python tools/make_phantom.py --output "$OUT/phantom" --overwrite \
    --patients-per-class "$PATIENTS_PER_CLASS"

  step "2/8 lesion and classification datasets, split by patient"
  python tools/prepare_cncb.py "$OUT/phantom/ct_lesion_seg" --output "$OUT/datasets/cncb" \
    --mask-types merge --min-area 25 --split-fractions 0.75 0 0.25 --overwrite |
    only '^(split|train|test) '
  prepare_classes

  step "3/8 training and evaluating the segmenter"
  train segmentation configs/quick/segmentation.yaml 4

  step "4/8 its results on held-out patients"
  show segmentation 'Evaluation results for segm' '^|  *[0-9]'
  show segmentation 'Table 2' 'false detections'
  python tools/show_predictions.py "$OUT/segmentation/inference/cncb_lesion_test"

  step "5/8 training and evaluating the classifier on the segmenter's regions"
  train classification configs/quick/classification.yaml 40 \
    MODEL.WEIGHTS "$OUT/segmentation/model_best.safetensors"

  step "6/8 its results on held-out patients"
  show classification 'covidx_ct_test: .* slices of ' '^[0-9]'
  python tools/calibrate.py "$OUT/classification" | only '^Temperature'

  step "7/8 the report"
  python tools/report.py "$OUT/segmentation" "$OUT/classification" --output "$OUT/report" \
    --overwrite | only 'report.html'

  step "8/8 predicting a whole scan from DICOM files"
  python tools/make_phantom.py --as dicom --output "$OUT/scans" --overwrite \
    --patients-per-class 1 --slices-per-scan 40 | only 'whole scans'
  python tools/predict.py "$OUT/scans/scans/NCP_*" --output "$OUT/predictions" --overwrite \
    --segmentation "$OUT/segmentation/model_best.safetensors" \
    --classifier "$OUT/classification/model_best.safetensors"

  step "done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
  cat <<TEXT
Open, not for clinical use:
  $OUT/predictions/index.html    the predicted scan
  $OUT/report/report.html        tables and figures of both runs
  $OUT/segmentation/inference/cncb_lesion_test/predictions.png
Runs: $OUT/segmentation, $OUT/classification; data: $OUT/phantom, $OUT/datasets
Next (source $venv/bin/activate):
  ct-lesion predict my_scan      find lesions in your own scan with the shipped model
  docs/finetune.md               train the shipped model further on your own slices
  docs/README.md                 everything else
TEXT
}

main "$@"
