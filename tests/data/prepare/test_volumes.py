"""Volumes become the json files that training reads; all faults are reported together."""

import json

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from pycocotools.coco import COCO
from toy_scans import oblique_direction, toy_hu, write_series, write_volume

from ct_lesion.data.datasets.cncb import load_cncb_lesion
from ct_lesion.data.datasets.lesion_coco import annotation_file
from ct_lesion.data.datasets.splits import split_by_patients
from ct_lesion.data.prepare.volume_pairs import LabelMap, VolumePair, pair_folders
from ct_lesion.data.prepare.volumes import check_pairs, prepare_volumes
from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.windows import Window, window_to_uint8

LABELS = LabelMap(["1=lung", "2=ggo", "4=consolidation"])
FLIPPED = (-1, 0, 0, 0, -1, 0, 0, 0, -1)
DIRECTIONS = {"a": (1, 0, 0, 0, 1, 0, 0, 0, 1), "b": FLIPPED, "c": oblique_direction()}


def toy_mask(slices: int = 12) -> np.ndarray:
    """Lung, a GGO of 5 x 6 px in slices 2 to 4 and a consolidation of 4 x 4 px in slice 4."""
    mask = np.zeros((slices, 32, 32), np.uint8)
    mask[:, 9:20, 6:17] = 1
    mask[2:5, 10:15, 7:13] = 2
    mask[4, 16:20, 12:16] = 4
    return mask


@pytest.fixture
def folders(tmp_path):
    """Three pairs, whose geometries differ."""
    for name, direction in DIRECTIONS.items():
        write_volume(tmp_path / "images" / f"{name}.nii.gz", toy_hu(), direction)
        write_volume(tmp_path / "masks" / f"{name}.nrrd", toy_mask(), direction)
    return tmp_path / "images", tmp_path / "masks"


def prepare(folders, tmp_path, labels=LABELS, **options):
    checked = check_pairs(*pair_folders(*folders), labels)
    train, test, val = (item.slice_ids for item in checked)  # patients a, b and c
    split = {"train": train, "val": val, "test": test}
    return prepare_volumes(checked, split, labels, tmp_path / "cncb", min_area=10, **options)


def read(tmp_path, dataset, split):
    return json.loads((tmp_path / "cncb" / annotation_file(dataset, split)).read_text("utf-8"))


def internal(voxels, direction) -> np.ndarray:
    image = sitk.GetImageFromArray(voxels)
    image.SetDirection(direction)
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))


@pytest.mark.parametrize(("split", "name"), [("train", "a"), ("test", "b"), ("val", "c")])
def test_images_and_masks_of_a_patient_match(folders, tmp_path, split, name):
    prepare(folders, tmp_path)
    path = tmp_path / "cncb" / annotation_file("cncb_lesion", split)
    coco = COCO(str(path))
    hu, mask = (internal(v, DIRECTIONS[name]) for v in (toy_hu(), toy_mask()))
    images = coco.loadImgs(coco.getImgIds())
    assert [i["file_name"] for i in images] == [f"{name}/{name}-{k:04d}.png" for k in range(12)]
    for index, image in enumerate(images):
        pixels = cv2.imread(str(tmp_path / "cncb/images" / image["file_name"]), -1)
        np.testing.assert_array_equal(pixels, window_to_uint8(hu[index]))
        union = np.zeros_like(mask[index])
        for annotation in coco.imgToAnns[image["id"]]:
            union |= coco.annToMask(annotation)
        np.testing.assert_array_equal(union > 0, mask[index] > 1)
        assert (image["patient"], image["scan"]) == (name, name)
        assert image["lung_area"] == (mask[index] > 0).sum()


def test_mask_types_and_summaries(folders, tmp_path):
    summaries = prepare(folders, tmp_path)
    assert list(summaries) == ["cncb_lesion", "cncb_ggo_consolidation", "cncb_ggo"]
    both = summaries["cncb_ggo_consolidation"]["train"]
    assert (both.patients, both.slices, both.lesion_free) == (1, 12, 9)
    assert both.areas == {"GGO": [30, 30, 30], "Consolidation": [16]}


def test_training_can_load_them(folders, tmp_path):
    prepare(folders, tmp_path)
    root = tmp_path / "cncb"
    json_file = root / annotation_file("cncb_lesion", "train")
    records = load_cncb_lesion("volumes_toy", json_file, root / "images")
    assert len(records) == 12
    assert records[4]["patient"] == "a" and len(records[4]["annotations"]) == 2


def test_lesions_of_unspecified_kind_without_a_lung_field(folders, tmp_path):
    labels = LabelMap(["1=background", "2=lesion", "4=lesion"])
    summaries = prepare(folders, tmp_path, labels)
    assert list(summaries) == ["cncb_lesion"]
    image = read(tmp_path, "cncb_lesion", "train")["images"][0]
    assert "lung_area" not in image and "lung_segmentation" not in image
    with pytest.raises(DatasetError, match="--mask-types ggo"):
        prepare(folders, tmp_path, labels, mask_types=["ggo"], overwrite=True)


def test_without_validation_slices_no_val_is_written(folders, tmp_path):
    checked = check_pairs(*pair_folders(*folders), LABELS)
    split = split_by_patients([s for item in checked for s in item.slice_ids], ["b"])
    prepare_volumes(checked, split, LABELS, tmp_path / "cncb", mask_types=["merge"])
    written = {path.name for path in (tmp_path / "cncb/annotations").iterdir()}
    assert written == {"cncb_lesion_train.json", "cncb_lesion_test.json"}
    assert len(read(tmp_path, "cncb_lesion", "test")["images"]) == 12


def test_a_dicom_series_with_a_mask_volume(tmp_path):
    folder = write_series(tmp_path / "ct", toy_hu())
    mask = write_volume(tmp_path / "m.nii.gz", toy_mask())
    (checked,) = check_pairs([VolumePair("p", "s", folder, mask)], [], LABELS)
    assert checked.slices == 12
    assert any("not square" in remark for remark in checked.remarks)


@pytest.mark.parametrize("order", ["LAS", "RAI", "SAL"])
def test_a_mask_may_store_the_voxels_in_a_converters_order(tmp_path, order):
    """LAS is dcm2niix's order: rows from the back to the front."""
    folder = write_series(tmp_path / "ct", toy_hu())
    found = []
    for name in ("LPS", order):
        mask = sitk.ReadImage(str(write_volume(tmp_path / "m.nii.gz", toy_mask())))
        path = tmp_path / f"{name}.nii.gz"
        sitk.WriteImage(sitk.DICOMOrient(mask, name), str(path))
        checked = check_pairs([VolumePair("p", "s", folder, path)], [], LABELS)
        split = {"train": checked[0].slice_ids, "val": [], "test": []}
        output = tmp_path / f"as_{name}"
        prepare_volumes(checked, split, LABELS, output, mask_types=["merge"], min_area=10)
        text = (output / annotation_file("cncb_lesion", "train")).read_text("utf-8")
        found.append(json.loads(text)["annotations"])
    assert len(found[0]) == 4  # GGO in three slices, consolidation in one
    assert found[1] == found[0]


def test_unmapped_values_are_named_with_all_digits(folders):
    mask = toy_mask().astype(np.float32)
    mask[3, 3, 3:5] = np.float32(1.000001), 2.5
    write_volume(folders[1] / "a.nrrd", mask)
    with pytest.raises(DatasetError, match=r"not in --labels: 1\.000001, 2\.5"):
        check_pairs(*pair_folders(*folders), LABELS)


def test_all_faults_are_named_at_once_and_nothing_is_written(folders, tmp_path):
    images, masks = folders
    write_volume(masks / "a.nrrd", toy_mask(11))
    write_volume(masks / "b.nrrd", toy_mask())  # its image is flipped, the mask is not
    write_volume(masks / "c.nrrd", toy_mask() * 3, oblique_direction())
    write_volume(images / "d.nii", toy_hu() + 1024)
    write_volume(masks / "d.nrrd", toy_mask())
    (images / "e.nii").write_bytes(b"junk")
    write_volume(masks / "e.nrrd", toy_mask())
    write_volume(masks / "f.nrrd", toy_mask())
    with pytest.raises(DatasetError) as caught:
        prepare(folders, tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first == "6 faults, nothing was written. Correct them:"
    for text in (
        f"{masks}/f.nrrd has no image",
        f"{masks}/a.nrrd has 32 x 32 x 11 voxels, but its scan {images}/a.nii.gz has 32 x 32 x 12",
        f"{masks}/b.nrrd does not fit its scan {images}/b.nii.gz",
        f"{masks}/c.nrrd has values that are not in --labels: 3, 6, 12",
        f"{images}/d.nii: values from 14 to 1103 cannot be HU",
        f"{images}/e.nii cannot be read",
    ):
        assert sum(text in line for line in lines) == 1, text
    assert not (tmp_path / "cncb").exists()


@pytest.mark.parametrize("what", ["spacing", "origin"])
def test_a_mask_of_another_geometry_is_refused(folders, what):
    path = folders[1] / "a.nrrd"
    image = sitk.ReadImage(str(path))
    if what == "spacing":
        image.SetSpacing((0.7, 0.8, 5.0))
    else:
        image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    # distance of corners: 11 slices of 2.5 mm; the length of the origin (11, 22, 33)
    apart = {"spacing": "27.5", "origin": "41.2"}[what]
    with pytest.raises(DatasetError, match=rf"a\.nrrd does not fit .* up to {apart} mm off"):
        check_pairs(*pair_folders(*folders), LABELS)


def test_an_earlier_output_is_not_replaced(folders, tmp_path):
    prepare(folders, tmp_path)
    with pytest.raises(DatasetError, match="already holds images and annotations"):
        prepare(folders, tmp_path)
    prepare(folders, tmp_path, overwrite=True)


def test_larger_slices_are_shrunk_with_their_masks(tmp_path):
    hu, mask = (np.kron(v, np.ones((1, 2, 3), v.dtype)) for v in (toy_hu(), toy_mask()))
    for folder, voxels in (("images", hu), ("masks", mask)):
        write_volume(tmp_path / folder / "a.nii.gz", voxels)
    options = ReadOptions(window=Window(-600, 1500, side=32))
    checked = check_pairs(*pair_folders(tmp_path / "images", tmp_path / "masks"), LABELS, options)
    split = {"train": checked[0].slice_ids, "test": []}
    prepare_volumes(checked, split, LABELS, tmp_path / "cncb", min_area=1, options=options)
    coco = read(tmp_path, "cncb_lesion", "train")
    assert (coco["images"][4]["height"], coco["images"][4]["width"]) == (32, 48)
    pixels = cv2.imread(str(tmp_path / "cncb/images" / coco["images"][4]["file_name"]), -1)
    full = window_to_uint8(hu[4])
    np.testing.assert_array_equal(pixels, cv2.resize(full, (48, 32), None, 0, 0, cv2.INTER_CUBIC))
    # half of 10 x 18 px and of 8 x 12 px, in both directions
    assert [a["area"] for a in coco["annotations"] if a["image_id"] == 5] == [5 * 9, 4 * 6]


def test_the_window_of_8_bit_volumes_is_unknown(folders, tmp_path):
    prepare(folders, tmp_path)
    assert read(tmp_path, "cncb_lesion", "test")["info"]["window"]["level"] == -600
    write_volume(folders[0] / "b.nii.gz", window_to_uint8(toy_hu()), FLIPPED)
    prepare(folders, tmp_path, overwrite=True)
    assert read(tmp_path, "cncb_lesion", "test")["info"]["window"]["kind"] == "unknown"
    checked = check_pairs(*pair_folders(*folders), LABELS)
    assert "window of all slices counts as unknown" in " ".join(checked[1].remarks)
