from ct_lesion.report.figures.curves import curves_figure, loss_names, metric_names, series

CURVES = [
    {"iteration": 19, "total_loss": 2.0, "loss_cls": 1.5, "loss_mask": 0.5},
    {"iteration": 39, "total_loss": 1.0, "loss_cls": 0.5, "loss_mask": 0.5},
    {"iteration": 39, "segm/AP50": 12.0, "bbox/AP50": 30.0},
    # resumed from a checkpoint before iteration 39
    {"iteration": 39, "total_loss": 0.8, "loss_cls": 0.4, "loss_mask": 0.4},
    {"iteration": 59, "other_set/segm/AP50": 20.0},
]


def test_the_last_value_of_a_repeated_iteration_counts():
    assert series(CURVES, "total_loss") == ([19, 39], [2.0, 0.8])


def test_losses_and_metrics_are_found():
    assert loss_names(CURVES) == ["total_loss", "loss_cls", "loss_mask"]
    assert metric_names(CURVES) == ["other_set/segm/AP50", "segm/AP50"]
    # a classifier has one loss, which is the total
    assert loss_names([{"iteration": 1, "total_loss": 1, "loss_cls": 1}]) == ["total_loss"]


def test_one_row_per_run(tmp_path):
    figure = curves_figure({"one": CURVES, "empty": []})
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "one: losses",
        "one: evaluations",
        "empty: losses",
        "empty: evaluations",
    ]
    figure.savefig(tmp_path / "curves.png")  # a log axis without values must not fail
