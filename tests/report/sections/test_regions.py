import numpy as np

from ct_lesion.evaluation.region_statistics import count_above
from ct_lesion.pages.blocks import Caution, Picture
from ct_lesion.pages.tables import Table
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.runs.results import choose_test
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.sections.explanation import explanation_blocks
from ct_lesion.report.sections.regions import region_blocks

OPTIONS = ReportOptions(resamples=20, per_class=4)


def names(blocks: list, kind: type) -> list[str]:
    return [block.name for block in blocks if isinstance(block, kind)]


def test_figures_and_tables_of_the_regions(classification_run):
    result = choose_test(load_runs([classification_run()])[0].classification)
    blocks = region_blocks({"run": result}, OPTIONS)
    assert "12 slices of covidx_ct_test, 4 of each of 3 classes" in blocks[0]
    assert names(blocks, Picture) == ["figure_3_1", "figure_4_1"]
    table_4, table_5 = (block for block in blocks if isinstance(block, Table))
    assert len(table_4.rows) == len(table_5.rows) == 9
    drawn = next(b for b in blocks if isinstance(b, Picture) and b.name == "figure_4_1")
    counts = np.concatenate([drawn.numbers[c]["0.5"] for c in result.class_names])
    assert table_4.records()[3]["mean"] == np.mean(drawn.numbers["Control"]["0.5"])
    assert len(counts) == 12
    batches = result.roi_batches
    assert set(counts) <= set(count_above(batches.roi_batch[..., 0], batches.is_copy, 0.5))


def test_padded_slices_are_reported_and_their_copies_are_not_counted(classification_run):
    result = choose_test(load_runs([classification_run()])[0].classification)
    result.roi_batches.roi_batch[..., 0] = 0.95
    result.roi_batches.is_copy[:, 2:] = True
    blocks = region_blocks({"run": result}, OPTIONS)
    (caution,) = (b.text for b in blocks if isinstance(b, Caution))
    assert "12 of 12 slices are padded" in caution
    assert "67 % of the rows are copies" in caution
    table_4 = next(b for b in blocks if isinstance(b, Table) and b.name == "table_4")
    assert {(row["mean"], row["padded slices"]) for row in table_4.records()} == {(2.0, 4)}
    assert any("Copies that pad an RoI batch are not counted" in note for note in table_4.notes)


def test_importance_and_deletion_test_of_the_regions(classification_run):
    (run,) = load_runs([classification_run()])
    result = choose_test(run.classification)
    blocks = explanation_blocks("run", 1, run, result, OPTIONS)
    assert names(blocks, Picture) == ["deletion_1"]  # the toy slices have no images
    table = next(block for block in blocks if isinstance(block, Table))
    for record in table.records():
        if record["rows deleted"]:
            assert record["most important"] <= record["random"] <= record["least important"]


def test_missing_weights_are_reported_in_a_sentence(classification_run):
    folder = classification_run()
    (run,) = load_runs([folder])
    (folder / "model_final.safetensors").unlink()
    (sentence,) = explanation_blocks("run", 1, run, choose_test(run.classification), OPTIONS)
    assert "the importance of regions is left out" in sentence
