"""Evaluation and training in two processes on a CPU, compared with one process."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from launched import Toys, evaluate_and_train_s, segmentation_cfg, work_in_two_processes

from ct_lesion.checkpoint import read_checkpoint
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.data.datasets.lesion_coco import IMAGE_FOLDER, annotation_file
from ct_lesion.data.loading.roi_batches import RoIBatches
from ct_lesion.engine.across_processes import scale_to_processes
from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.launch import launch
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError

SEGMENTATION = ("coco_instances_results.json", "segmentation_metrics.json", "ground_truth.json")
CLASSIFICATION = ("predictions.csv", "classification_metrics.json")


@pytest.fixture(scope="module")
def toys(lesion_root, segmenter_file, classifier_file, tmp_path_factory) -> Iterator[Toys]:
    """Lesion datasets train, test (6 slices each) and one; class datasets all (12), five, one."""
    folder = tmp_path_factory.mktemp("toys")
    root = lesion_root / "cncb"
    lesions = {split: root / annotation_file("cncb_lesion", split) for split in ("train", "test")}
    train, test = (json.loads(file.read_text("utf-8")) for file in lesions.values())

    first = test["images"][0]
    annotations = [a for a in test["annotations"] if a["image_id"] == first["id"]]
    lesions["one"] = folder / "one.json"
    lesions["one"].write_text(json.dumps({**test, "images": [first], "annotations": annotations}))

    slices = [
        {**image, "image_id": str(i), "label": i % 3, "slice": str(i), "body_box": None}
        for i, image in enumerate(train["images"] + test["images"])
    ]
    classes = {}
    for name, count in (("all", 12), ("five", 5), ("one", 1)):
        dataset = {"classes": IMAGE_CLASSES, "image_root": "", "images": slices[:count]}
        classes[name] = folder / f"classes_{name}.json"
        classes[name].write_text(json.dumps(dataset))

    toys = Toys(root / IMAGE_FOLDER, lesions, classes, segmenter_file, classifier_file)
    toys.register()
    yield toys
    toys.unregister()


@pytest.fixture(scope="module")
def folders(toys, tmp_path_factory) -> tuple[Path, Path]:
    """Results of the same work in one process and in two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    evaluate_and_train_s(toys, one)
    launch(work_in_two_processes, 2, args=(toys, two), on_gpu=False)
    return one, two


@pytest.fixture
def facts(folders) -> dict:
    return json.loads((folders[1] / "facts.json").read_text())


def losses(folder: Path) -> list[float]:
    return json.loads((folder / "losses.json").read_text())


def test_detectron2s_communication_works_with_gloo(facts):
    assert facts["ranks"] == [0, 1]
    assert len(set(facts["seeds"])) == 1


@pytest.mark.parametrize("dataset", ["toy_lesion_test", "toy_lesion_one"])
def test_segmentation_results_are_identical(folders, dataset):
    one, two = (f / "segmentation/inference" / dataset for f in folders)
    for name in SEGMENTATION:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert json.loads((two / SEGMENTATION[0]).read_text()), "there are detections"
    slices = [json.loads((f / "evaluation.json").read_text())["slices"] for f in (one, two)]
    assert slices[0] == slices[1] == len(json.loads((two / SEGMENTATION[2]).read_text())["images"])


@pytest.mark.parametrize("dataset", ["toy_classes_five", "toy_classes_one"])
def test_classification_results_are_identical(folders, dataset):
    one, two = (f / "classification/inference" / dataset for f in folders)
    for name in CLASSIFICATION:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert_same_arrays(one / "roi_batches.npz", two / "roi_batches.npz")


def assert_same_arrays(one: Path, two: Path) -> None:
    with np.load(one) as first, np.load(two) as second:
        assert set(first) == set(second)
        for name in set(first) - {"config"}:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_s_learns_the_same_from_cached_regions(folders):
    one, two = (f / "s" for f in folders)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert all(a != b for a, b in pairwise(losses(one)))
    assert_same_arrays(one / "roi_batches.npz", two / "roi_batches.npz")
    slices = RoIBatches.load(two / "roi_batches.npz").image_id.tolist()
    assert slices == [str(i) for i in range(12)], "in the order of the dataset"
    first, second = (read_checkpoint(f / "model_final.safetensors").model for f in (one, two))
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, atol=1e-5, err_msg=name)


def test_evaluating_the_saved_weights_gives_the_results_of_training(folders, tmp_path):
    run = folders[1] / "trained"
    values = losses(run)
    assert np.mean(values[-4:]) < np.mean(values[:4])
    weights = str(run / "model_final.safetensors")
    cfg = segmentation_cfg(tmp_path, **{"MODEL.WEIGHTS": weights})
    LesionTrainer.test(cfg, load_trained(cfg))
    # each process has its own BatchNorm statistics, so they must have been broadcast
    for name in SEGMENTATION[:2]:
        trained, alone = (f / "inference/toy_lesion_test" / name for f in (run, tmp_path))
        assert trained.read_bytes() == alone.read_bytes(), name
    assert (run / "model_best.safetensors").is_file()


@pytest.mark.parametrize("model", ["segmenter", "affine"])
def test_all_processes_have_the_same_weights(facts, model):
    assert len(facts[model]) == 2
    assert len(set(facts[model])) == 1


def test_a_run_that_fails_in_its_last_step_does_not_evaluate(toys, tmp_path, monkeypatch):
    """Several processes would wait for each other in the evaluation."""
    evaluated = []
    monkeypatch.setattr(LesionTrainer, "test", classmethod(lambda *_: evaluated.append(1)))
    monkeypatch.setattr(LesionTrainer, "run_step", lambda self: 1 / 0)
    trainer = LesionTrainer(segmentation_cfg(tmp_path, **{"SOLVER.MAX_ITER": 1}))
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert not evaluated


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path):
    cfg = segmentation_cfg(tmp_path, **{"SOLVER.IMS_PER_BATCH": 3})
    with pytest.raises(ConfigError, match=r"SOLVER\.IMS_PER_BATCH is 3, which 2 .*--num-gpus"):
        scale_to_processes(cfg, 2)
    assert scale_to_processes(cfg, 3) is cfg
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 2
    with pytest.raises(ConfigError, match=r"multiple of SOLVER\.REFERENCE_WORLD_SIZE, 2"):
        scale_to_processes(cfg, 2)


def test_the_papers_recipe_scales_to_eight_processes(tmp_path):
    values = {"SOLVER.REFERENCE_WORLD_SIZE": 1, "SOLVER.BASE_LR": 1e-5}
    cfg = scale_to_processes(segmentation_cfg(tmp_path, **values), 8)
    assert cfg.SOLVER.IMS_PER_BATCH == 8
    assert pytest.approx(8e-5) == cfg.SOLVER.BASE_LR
    assert cfg.SOLVER.MAX_ITER == 65000 / 8
    assert cfg.SOLVER.CHECKPOINT_PERIOD == cfg.TEST.EVAL_PERIOD == round(3250 / 8)
