"""A small synthetic COVIDx-CT tree, and the measurements on it."""

from ct_lesion.benchmark.data import make_tree, time_steps, watch_loader
from ct_lesion.data.datasets.covidx_ct import load_covidx_ct


def test_every_step_of_a_small_tree_is_timed(tmp_path) -> None:
    source = make_tree(tmp_path / "tree", count=900, files=4, size=64)
    seconds = time_steps(source, tmp_path / "output", decoded=8, size=64)
    assert list(seconds) == [
        "reading the lists",
        "finding the images",
        "reading a header",
        "all of preparing",
        "loading the dataset",
        "hashing the dataset",
        "decoding an image",
        "mapping, beyond decoding",
    ]
    # 15 scans of 60 slices, three of five of each class for testing
    folder = tmp_path / "output" / "annotations"
    counts = {s: len(load_covidx_ct(folder / f"{s}.json")) for s in ("train_full", "val", "test")}
    assert counts == {"train_full": 180, "val": 180, "test": 540}


def test_memory_is_read_after_each_batch(tmp_path) -> None:
    source = make_tree(tmp_path / "tree", count=900, files=4, size=64)
    files = sorted(source.image_root.rglob("*.png"))
    trace = watch_loader(files, count=100, loaded=40, size=64)
    assert len(trace) == 5  # batches of 8
    assert all(value > 2**20 for value in trace)
