import copy

import numpy as np
import pytest

from ct_lesion.evaluation.mask_ap import MaskAP
from ct_lesion.pages.blocks import Caution, Picture
from ct_lesion.pages.tables import Table
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.runs.results import choose_test
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.sections.segmentation import check_same_truth, segmentation_blocks

OPTIONS = ReportOptions(resamples=10, score_threshold=0.0)


@pytest.fixture
def result(segmentation_run):
    return choose_test(load_runs([segmentation_run()])[0].segmentation)


def exact(result):
    """The same evaluation with every lesion detected as it is."""
    detections = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")}, "score": 0.9}
        for a in result.truth.dataset["annotations"]
    ]
    better = copy.copy(result)
    object.__setattr__(better, "detections", detections)
    return better


def test_tables_figures_and_a_comparison(result):
    results = {"untrained": result, "exact": exact(result)}
    check_same_truth(results)
    blocks = segmentation_blocks(results, OPTIONS)
    tables = {block.name: block.records() for block in blocks if isinstance(block, Table)}
    assert tables["ap_intervals"][1]["AP"] == pytest.approx(1)
    expected = MaskAP(result.truth, result.detections).of()["AP"]
    assert tables["ap_comparison"][0]["AP, A - B"] == pytest.approx(expected - 1)
    assert tables["froc"][2]["0.125"] == 1
    assert tables["dice"][1]["mean over patients"] == 1
    assert {r["patient"] for r in tables["ap_patients"]} == {"2", "3"}
    pictures = {block.name for block in blocks if isinstance(block, Picture)}
    assert pictures == {"froc", "precision_recall", "worst_segmented_1", "worst_segmented_2"}
    (caution,) = (block for block in blocks if isinstance(block, Caution))  # once per dataset
    assert "so few patients" in caution.text


def test_a_test_set_without_any_lesion_is_reported(result):
    truth = result.truth
    truth.dataset["annotations"] = []
    truth.createIndex()
    blocks = segmentation_blocks({"run": result}, OPTIONS)
    assert any("holds no lesion" in b.text for b in blocks if isinstance(b, Caution))
    tables = {block.name: block for block in blocks if isinstance(block, Table)}
    assert tables["ap_intervals"].records()[0]["AP"] is None
    assert np.isnan(tables["froc"].rows[0][3])


def test_runs_on_different_slices_are_refused(result):
    other = copy.deepcopy(result)
    other.truth.imgs[1]["file_name"] = "9/9.jpg"
    with pytest.raises(RunError, match=r"a and b were not evaluated on the same slices"):
        check_same_truth({"a": result, "b": other})
