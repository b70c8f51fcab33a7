import pytest

from ct_lesion.benchmark.cases import CASES, choose_cases
from ct_lesion.errors import UserError


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_cases_are_chosen_by_name() -> None:
    names = ["floor-resnet18_t1", "classify-resnet18_t1"]
    assert [case.name for case in choose_cases(names)] == names
    with pytest.raises(UserError, match=r"No row nonsense\. Choose from: .*floor-resnet"):
        choose_cases(["nonsense"])


def test_torchvision_is_measured_on_request() -> None:
    default = choose_cases()
    assert choose_cases(with_torchvision=True) == [*default, CASES[-1]]
    assert CASES[-1].name == "torchvision-resnet18_t1"
