from ct_lesion.benchmark import prediction_rows
from ct_lesion.benchmark.row import Settings


def test_both_volumes_are_predicted_and_their_memory_is_told(monkeypatch):
    monkeypatch.setattr(prediction_rows, "LENGTHS", (2, 3))
    value = prediction_rows.predict_memory(Settings(size=64, slices=2))
    assert value.unit == "GiB"
    assert 0.1 < value.value < 8
    assert set(value.facts) == {
        "weights",
        "GiB, 2 slices",
        "GiB, 3 slices",
        "slices a second, 2 slices, start included",
        "slices a second, 3 slices, start included",
    }
