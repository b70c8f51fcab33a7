import pytest

from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans


def test_whole_scans(run_tool, tmp_path):
    arguments = ["--as", "dicom", "--patients-per-class", 1, "--slices-per-scan", 2]
    result = run_tool("make_phantom.py", "--output", "out", *arguments)
    assert result.returncode == 0, result.stderr
    assert "out/scans: 3 whole scans" in result.stdout
    sources = find_scans([tmp_path / "out" / "scans"], options=ReadOptions())
    assert [s.name for s in sources] == ["CP_5001", "NCP_5002", "Normal_5000"]
    assert all(source.open().shape == (2, 256, 256) for source in sources)


def test_slices(run_tool, tmp_path):
    arguments = ["--lesion-patients", 1, "--slices-per-patient", 1, "--patients-per-class", 0]
    result = run_tool("make_phantom.py", "--output", "out", *arguments)
    assert result.returncode == 0, result.stderr
    assert "out/ct_lesion_seg: 1 patients, 1 slices" in result.stdout
    assert len(list((tmp_path / "out/ct_lesion_seg/mask").rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "dicom", "--lesion-patients", "3"], "--lesion-patients is only for --as slices"),
        (["--as", "nifti", "--slices-per-scan", "1"], "slices_per_scan must be 2 to 400"),
        (["--output", "full"], "full exists and is not a phantom"),
    ],
)
def test_wrong_arguments_are_user_errors(run_tool, tmp_path, arguments, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/scan.png").touch()
    result = run_tool("make_phantom.py", "--output", "out", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
