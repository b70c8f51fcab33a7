"""The synthetic CT has plausible anatomy and lesions, and the layouts of the real data sets."""

import json
import re

import cv2
import numpy as np
import pytest

from ct_lesion.errors import UserError
from ct_lesion.phantom import slice_sets
from ct_lesion.phantom.lesions import GAP_AT_256, MIN_AREA_AT_256, clear_components, lobe
from ct_lesion.phantom.patient import DISEASES, make_patient
from ct_lesion.phantom.slice_sets import PhantomSpec, write_phantom

SMALL = PhantomSpec(256, 5, 2, 3, patients_per_class=3, slices_per_scan=2)
LIST_LINE = re.compile(r"(NCP|CP|Normal)_(\d+)_(\d+)_(\d{4})\.png ([012]) (\d+) (\d+) (\d+) (\d+)")


@pytest.fixture(scope="module")
def patients():
    """Some patients of each class, by class."""
    count = {"Normal": 1, "CP": 4, "NCP": 4}
    return {d: [make_patient(seed, d, 256, 6) for seed in range(n)] for d, n in count.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small data set and its manifest."""
    out = tmp_path_factory.mktemp("phantom") / "set"
    return out, write_phantom(out, SMALL)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def components(label):
    return cv2.connectedComponentsWithStats((label > 1).astype(np.uint8), connectivity=8)


def test_the_seed_determines_the_volume():
    a, b, c = (make_patient(s, "NCP", 128, 2) for s in (3, 3, 4))
    assert a.hu.tobytes() == b.hu.tobytes() and a.labels.tobytes() == b.labels.tobytes()
    assert not np.array_equal(a.labels, c.labels)


def test_shape_spacing_and_boxes():
    p = make_patient(1, "CP", 128, 5, patient_id="x7")
    assert p.hu.shape == p.labels.shape == (5, 128, 128)
    assert p.hu.dtype == np.float32 and p.labels.dtype == np.uint8
    assert p.disease == "CP" and p.patient_id == "x7"
    z, y, x = p.spacing_mm
    assert x == y and 300 < x * 128 < 400 and 150 < z * 5 < 200  # an adult's chest
    twice = make_patient(1, "CP", 256, 10)
    assert twice.spacing_mm == pytest.approx((z / 2, y / 2, x / 2))


def test_a_patient_is_the_same_at_another_size():
    small, large = (make_patient(2, "NCP", size, 3).labels for size in (128, 256))
    shrunk = cv2.resize(large[1], (128, 128), interpolation=cv2.INTER_NEAREST)
    assert ((shrunk > 0) == (small[1] > 0)).mean() > 0.97


def test_tissues_have_plausible_hu(patients):
    for p in patients["NCP"] + patients["CP"] + patients["Normal"]:
        assert -905 < np.median(p.hu[p.labels == 1]) < -780
        counts, edges = np.histogram(p.hu, bins=np.arange(-25, 200, 5))
        assert 35 <= edges[counts.argmax()] <= 65  # muscle and blood
        assert 0.01 < (p.hu > 250).mean() < 0.08  # bone
        assert np.median(p.hu[:, :6, :6]) < -950  # room
    ggo, core = (
        np.concatenate([p.hu[p.labels == v] for p in patients["NCP"] + patients["CP"]])
        for v in (2, 3)
    )
    assert -700 < np.median(ggo) < -350
    assert -150 < np.median(core) < 60


def test_lesions_stand_out_from_the_lung(patients):
    for p in patients["NCP"]:
        lung = p.hu[p.labels == 1]
        spread = np.subtract(*np.percentile(lung, [75, 25])) / 1.35
        assert np.median(p.hu[p.labels == 2]) - np.median(lung) > 3 * spread


def test_labels_are_valid_and_inside_the_body(patients):
    for p in patients["NCP"] + patients["CP"]:
        assert set(np.unique(p.labels)) <= {0, 1, 2, 3}
        for label, (x0, y0, x1, y1) in zip(p.labels, p.body_boxes, strict=True):
            rows, cols = np.nonzero(label)
            assert x0 < cols.min() and cols.max() < x1 and y0 < rows.min() and rows.max() < y1


def test_lesions_change_only_the_pixels_that_they_cover(monkeypatch):
    sick = make_patient(9, "NCP", 256, 4)
    monkeypatch.setattr("ct_lesion.phantom.patient.draw_lesions", lambda *_: [])
    healthy = make_patient(9, "NCP", 256, 4)
    assert np.array_equal(sick.labels > 0, healthy.labels == 1)  # lesions only within the lungs
    change = sick.hu - healthy.hu
    assert np.median(change[sick.labels > 1]) > 150
    for difference, label in zip(change, sick.labels, strict=True):
        far = cv2.dilate((label > 1).astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
        assert np.abs(difference[far]).max() < 1e-3


def test_controls_have_no_lesion(patients):
    assert all(p.labels.max() == 1 for p in patients["Normal"])


def test_components_are_large_and_separate(patients):
    total = 0
    for p in patients["NCP"] + patients["CP"]:
        for label in p.labels:
            count, index, stats, _ = components(label)
            total += count - 1
            assert (stats[1:, cv2.CC_STAT_AREA] >= MIN_AREA_AT_256).all()
            for i in range(1, count):
                away = cv2.distanceTransform((index != i).astype(np.uint8), cv2.DIST_L2, 5)
                others = away[(index > 0) & (index != i)]
                assert not others.size or others.min() >= GAP_AT_256 - 1
    assert total > 30


def test_clear_components_by_hand():
    mask = np.zeros((20, 40), bool)
    mask[2:8, 2:8] = True  # 36 px: kept
    mask[2:6, 10:14] = True  # 16 px, 2 px from it: removed
    mask[10:14, 30:34] = True  # 16 px, alone: kept
    mask[18, 2:4] = True  # 2 px: removed
    kept = clear_components(mask, least=4, gap=4)
    expected = mask.copy()
    expected[2:6, 10:14] = expected[18, 2:4] = False
    assert np.array_equal(kept, expected)


def lesion_sides(p):
    """Lesion pixels in the left and in the right half of the body, and number of components."""
    left = right = 0
    for label, (x0, _, x1, _) in zip(p.labels, p.body_boxes, strict=True):
        cols = np.nonzero(label > 1)[1]
        left += (cols < (x0 + x1) / 2).sum()
        right += (cols >= (x0 + x1) / 2).sum()
    return left, right, sum(components(label)[0] - 1 for label in p.labels)


def test_covid_is_bilateral_and_multifocal_and_pneumonia_is_not(patients):
    covid = [lesion_sides(p) for p in patients["NCP"]]
    common = [lesion_sides(p) for p in patients["CP"]]
    assert all(min(left, right) > 0.05 * (left + right) for left, right, _ in covid)
    assert all(min(left, right) == 0 < max(left, right) for left, right, _ in common)
    assert np.mean([n for *_, n in covid]) > 2.5 * np.mean([n for *_, n in common])
    ggo, core = (sum((p.labels == v).sum() for p in patients["NCP"]) for v in (2, 3))
    assert ggo > core > 0
    ggo, core = (sum((p.labels == v).sum() for p in patients["CP"]) for v in (2, 3))
    assert core > ggo


def test_lobes_by_position():
    assert lobe(-50, -40, 60) == 0 and lobe(-50, -60, 150) == 1 and lobe(-50, 50, 180) == 2
    assert lobe(50, -40, 60) == 3 and lobe(50, 50, 180) == 4


def test_neighbouring_slices_are_more_alike_than_distant_ones():
    hu = make_patient(6, "NCP", 128, 16).hu
    blurred = np.stack([cv2.GaussianBlur(s, (0, 0), 1.5) for s in hu])
    steps = [np.abs(blurred[k:] - blurred[:-k]).mean() for k in (1, 4, 10)]
    assert steps[0] < 0.75 * steps[1] < 0.75 * steps[2]


@pytest.mark.parametrize(
    "arguments", [(0, "Flu", 128, 2), (-1, "CP", 128, 2), (0, "CP", 32, 2), (0, "CP", 128, 0)]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        make_patient(*arguments)


def test_lesion_archive_has_cncb_layout(written):
    out, manifest = written
    images = sorted((out / "ct_lesion_seg/image").rglob("*.jpg"))
    masks = sorted((out / "ct_lesion_seg/mask").rglob("*.png"))
    pairs = [(p.parent.name, p.stem) for p in images]
    assert pairs == [(p.parent.name, p.stem) for p in masks]
    assert pairs == [(p, s) for p in "01" for s in "012"]
    lesions = 0
    for image, mask in zip(images, masks, strict=True):
        grey, label = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (image, mask))
        assert grey.shape == (256, 256, 3) and grey.dtype == np.uint8
        assert label.shape == (256, 256) and set(np.unique(label)) <= {0, 1, 2, 3}
        lesions += components(label)[0] - 1
    assert manifest["ct_lesion_seg"]["lesions"] == lesions > 0
    assert manifest["ct_lesion_seg"]["slices"] == 6


def test_lists_name_existing_files_and_split_by_patient(written):
    out, manifest = written
    tree, owner, classes = out / "covidx", {}, {}
    for split in ("train", "val", "test"):
        lines = (tree / f"{split}_COVIDx_CT.txt").read_text().splitlines()
        for line in lines:
            name, patient, scan, number, digit, *box = LIST_LINE.fullmatch(line).groups()
            assert DISEASES.index(name) == int(digit)
            assert (tree / name / patient / scan / f"{number}.png").is_file()
            x0, y0, x1, y1 = map(int, box)
            assert 0 <= x0 < x1 <= 256 and 0 <= y0 < y1 <= 256
            assert owner.setdefault(patient, split) == split
            assert classes.setdefault(patient, name) == name
        assert sum(manifest["covidx"]["listed"][split].values()) == len(lines) > 0
        assert {line.split("_")[0] for line in lines} == set(DISEASES)
    archive = {p.name for p in (out / "ct_lesion_seg/image").iterdir()}
    assert len(owner) == 9 and not archive & set(owner)


def test_of_patients_with_pneumonia_the_slices_with_a_lesion_are_listed(tmp_path):
    patient = make_patient(1, "CP", 256, 8)
    lines = slice_sets.write_scan(tmp_path, patient, scan="5")
    listed = {int(line.split()[0][:-4].split("_")[-1]) for line in lines}
    shown = {i for i, label in enumerate(patient.labels) if (label > 1).any()}
    assert listed == shown and 0 < len(shown) < 8


def test_the_seed_determines_the_files_and_adding_patients_does_not_change_the_others(
    written, tmp_path
):
    out, manifest = written
    write_phantom(tmp_path / "more", PhantomSpec(256, 5, 3, 3, 4, 2))
    files, more = files_of(out), files_of(tmp_path / "more")
    images = [p for p in files if p.suffix in (".png", ".jpg")]
    assert len(images) == 2 * 6 + 9 * 2
    assert all(files[p] == more[p] for p in images)
    assert json.loads((out / "phantom.json").read_text()) == manifest


def test_patients_of_all_streams_have_different_seeds():
    seeds = [
        slice_sets.patient_seed(0, stream, d, k)
        for stream in (0, 1)
        for d in DISEASES
        for k in range(50)
    ]
    assert len(set(seeds)) == len(seeds)


ONE = PhantomSpec(256, 0, lesion_patients=1, slices_per_patient=1, patients_per_class=0)


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    out = tmp_path / "set"
    out.mkdir()
    write_phantom(out, ONE)  # an empty folder is accepted
    before = files_of(out)
    with pytest.raises(UserError, match="--overwrite"):
        write_phantom(out, ONE)
    assert files_of(out) == before
    (out / "stale").touch()
    write_phantom(out, ONE, overwrite=True)
    assert files_of(out) == before


def test_overwrite_refuses_a_folder_that_is_not_a_phantom(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a phantom"):
        write_phantom(tmp_path, ONE, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(tmp_path, error):
    def fail(_):
        raise error

    with pytest.raises(type(error)):
        write_phantom(tmp_path / "set", ONE, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_keeps_the_old_phantom(tmp_path, monkeypatch):
    write_phantom(tmp_path / "set", ONE)
    before = files_of(tmp_path)
    monkeypatch.setattr(slice_sets, "make_patient", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_phantom(tmp_path / "set", ONE, overwrite=True)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 300), ("seed", -1), ("slices_per_scan", 0), ("patients_per_class", 2)],
)
def test_invalid_specs_name_the_field(tmp_path, field, value):
    with pytest.raises(ValueError, match=field):
        write_phantom(tmp_path / "set", PhantomSpec(**{field: value}))
    assert list(tmp_path.iterdir()) == []
