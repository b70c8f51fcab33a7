"""Listing the DICOM series in the inputs."""

import json
import zipfile

import pytest
from toy_scans import toy_hu, toy_phase, write_series, write_slices, write_volume

from ct_lesion.errors import DatasetError
from ct_lesion.scans.listing import list_series
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans
from tools import scans


@pytest.fixture
def folder(tmp_path):
    def kernel(name, **tags):
        def edit(ds, z):
            ds.ConvolutionKernel = name
            for tag, value in tags.items():
                setattr(ds, tag, value)

        return edit

    place = tmp_path / "study"
    write_series(place, toy_hu(), 1, kernel("B30f", SliceThickness=5, SpacingBetweenSlices=2.5))
    write_series(place, toy_hu(seed=2), 2, kernel("B60f"))
    write_series(place, toy_hu(2), 3, kernel("T", SeriesDescription="Topogram"))
    only_some = lambda ds, z: z or ds.__delattr__("RescaleSlope")  # noqa: E731
    write_series(place, toy_hu(), 4, only_some)
    write_volume(place / "v.nii", toy_hu())
    return place


def test_each_series_is_listed_with_its_distinguishing_values(folder):
    listing = list_series([folder])
    assert [(s.number, s.slices, s.kernel, s.patient) for s in listing.series] == [
        ("1", 12, "B30f", "P7"), ("2", 12, "B60f", "P7"), ("3", 2, "T", "P7"), ("4", 12, "", "P7"),
    ]  # fmt: skip
    first, _, scout, faulty = listing.series
    assert (first.step_mm, first.thickness_mm, first.pixel_mm) == (2.5, 5.0, (0.8, 0.7))
    assert first.refused is None and "a scout" in scout.refused
    assert "no RescaleSlope" in faulty.refused
    assert listing.others == [str(folder / "v.nii")]


def test_series_that_open_refuses_by_its_headers_are_refused(tmp_path):
    both = [*toy_phase(toy_hu(), None), *toy_phase(toy_hu(), None, first_number=13, shift=1.0)]
    (one,) = list_series([write_slices(tmp_path / "ct", both)]).series
    assert "no tag tells the acquisitions apart" in one.refused


def test_the_tool_prints_a_table_and_writes_json(folder, tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for path in folder.glob("s2*"):
            file.write(path, path.name)
    out = tmp_path / "out/series.json"
    words = ["scans", str(folder), str(tmp_path / "a.zip"), "--json", str(out)]
    monkeypatch.setattr("sys.argv", words)
    scans.main()
    printed = capsys.readouterr().out
    assert "B60f" in printed and "refused: " in printed and "5 DICOM series, 3 accepted" in printed
    series = json.loads(out.read_text("utf-8"))["series"]
    assert all(one["uid"] in printed for one in series)
    assert series[0]["place"] == str(tmp_path / "a.zip")


def test_predict_names_the_command_for_several_series(folder):
    notes = []
    find_scans([folder], options=ReadOptions(), notes=notes)
    (note,) = [note for note in notes if "reconstructions" in note]
    assert note.startswith(f"{folder}: 3 CT series") and f"`ct-lesion scans {folder}`" in note


def test_nothing_to_list(tmp_path):
    with pytest.raises(DatasetError, match="no scan found"):
        list_series([tmp_path])
