import pytest
from detectron2.data import DatasetCatalog

from ct_lesion.engine.patient_overlap import (
    check_patients_apart,
    describe_overlap,
    find_shared_patients,
)
from ct_lesion.errors import ConfigError


@pytest.fixture
def register():
    """Registers records of these patients under a name."""
    names = []

    def add(name: str, *patients: str | int | None) -> str:
        records = [{} if patient is None else {"patient": patient} for patient in patients]
        DatasetCatalog.register(name, lambda: records)
        names.append(name)
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)


def test_the_toy_split_shares_no_patient(toy_cfg):
    cfg = toy_cfg()
    check_patients_apart(cfg)
    overlap = find_shared_patients(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    assert overlap.train == {"cncb_lesion_train": 2}
    assert overlap.test == {"cncb_lesion_test": 2}
    assert (
        describe_overlap(overlap.as_dict(False))
        == "no patient is in both a training and a test set"
    )


def test_shared_patients_are_refused_by_name_with_datasets_and_key(toy_cfg):
    cfg = toy_cfg(**{"DATASETS.TEST": ("cncb_ggo_consolidation_test", "cncb_lesion_train")})
    with pytest.raises(ConfigError) as error:
        check_patients_apart(cfg)
    message = str(error.value)
    assert "patients 0, 1 are in cncb_lesion_train and in cncb_lesion_train" in message
    assert "DATASETS.ALLOW_SHARED_PATIENTS True" in message
    assert "cncb_ggo" not in message
    assert "\n" not in message


def test_shared_patients_can_be_allowed_and_the_record_says_so(toy_cfg):
    datasets = {"DATASETS.TEST": ("cncb_lesion_train",)}
    cfg = toy_cfg(**datasets, **{"DATASETS.ALLOW_SHARED_PATIENTS": True})
    check_patients_apart(cfg)
    record = find_shared_patients(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST).as_dict(True)
    assert record["shared"] == [
        {"train": "cncb_lesion_train", "test": "cncb_lesion_train", "patients": ["0", "1"]}
    ]
    assert record["allowed"] is True
    assert "allowed by DATASETS.ALLOW_SHARED_PATIENTS" in describe_overlap(record)


def test_a_number_and_its_text_are_the_same_patient(register):
    overlap = find_shared_patients([register("a", 3, 10, 20)], [register("b", "20", "3")])
    assert overlap.shared[0].patients == ("3", "20")


def test_only_the_first_of_many_shared_patients_are_named(register):
    overlap = find_shared_patients([register("a", *range(30))], [register("b", *range(30))])
    assert str(overlap.shared[0]) == (
        "patients 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more are in a and in b"
    )


def test_records_without_patients_are_reported_as_not_checked(register):
    overlap = find_shared_patients([register("a", 1, None)], [register("b", None, None)])
    assert overlap.shared == ()
    assert (overlap.train, overlap.test) == ({"a": 1}, {"b": None})
    text = describe_overlap(overlap.as_dict(False))
    assert text == "not fully checked (a: 1 slices have no patient; b: 2 slices have no patient)"


def test_a_record_of_an_earlier_version_has_no_description():
    assert describe_overlap({}) == ""
