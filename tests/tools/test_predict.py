"""The prediction tool, as a command."""

import json

pytest_plugins = ()


def test_pictures_of_a_real_scan(run_script, shared, segmenter_file, tmp_path):
    folder = shared / "data/ct_lesion_seg/image/4"
    result = run_script(
        "predict.py",
        folder,
        "--segmentation",
        segmenter_file,
        "--output",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out/4/summary.json").read_text("utf-8"))
    assert summary["slices"] == len(list(folder.iterdir()))
    assert "Not for clinical use" in result.stdout
    assert str(tmp_path / "out/index.html") in result.stdout
    assert "as windowed already" in result.stdout
