import pytest

from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans


def test_whole_scans(run_script, tmp_path):
    arguments = ["--as", "dicom", "--patients-per-class", 1, "--slices-per-scan", 2]
    result = run_script("make_phantom.py", "--output", "out", *arguments)
    assert result.returncode == 0, result.stderr
    assert "out/scans: 3 whole scans" in result.stdout
    sources = find_scans([tmp_path / "out" / "scans"], options=ReadOptions())
    assert [s.name for s in sources] == ["CP_5001", "NCP_5002", "Normal_5000"]
    assert all(source.open().shape == (2, 256, 256) for source in sources)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "dicom", "--lesion-patients", "3"], "--lesion-patients is for --as slices only"),
        (["--as", "nifti", "--slices-per-scan", "1"], "slices_per_scan must be 2 to 400"),
    ],
)
def test_mistakes_end_with_exit_code_2(run_script, tmp_path, arguments, message):
    result = run_script("make_phantom.py", "--output", "out", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
