"""The export as a command."""

from pathlib import Path

import onnxruntime


def test_a_classifier(run_tool, classifier_file: Path, tmp_path: Path) -> None:
    done = run_tool("export.py", classifier_file, "classifier.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for text in ("classification", "8 rows, copies are spread evenly", "Not for clinical use"):
        assert text in done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "classifier.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert about["temperature"] == "2.0"
    assert [output.name for output in session.get_outputs()] == ["logits", "roi_batch"]
    written = (tmp_path / "classifier.onnx").read_bytes()
    again = run_tool("export.py", classifier_file, "classifier.onnx")
    assert again.returncode == 2 and "add --overwrite" in again.stderr
    assert (tmp_path / "classifier.onnx").read_bytes() == written


def test_user_errors(run_tool, classifier_file: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["missing.safetensors", "a.onnx"], "missing.safetensors does not exist"),
        (["ct_lesion://missing", "a.onnx"], "ct_lesion://missing does not exist"),
        ([classifier_file, "a.onnx", "--score-thresh", 0.5], "which has no score threshold"),
    ):
        done = run_tool("export.py", *arguments)
        assert done.returncode == 2
        assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
