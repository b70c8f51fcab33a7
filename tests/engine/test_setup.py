import pytest

from ct_lesion.engine.setup import read_config
from ct_lesion.errors import ConfigError

CONFIG = "segmentation/resnet18_t1.yaml"


@pytest.mark.parametrize(
    ("config_file", "overrides", "message"),
    [
        ("", [], "--config-file is missing"),
        ("no/such.yaml", [], "no/such.yaml does not exist, and no shipped config has this name"),
        (
            CONFIG,
            ["SOLVER.BASE_LRR", "1"],
            "Similar keys: SOLVER.BASE_LR, ",
        ),
        (CONFIG, ["SOLVER.BASE_LR"], "odd length"),
        (CONFIG, ["SOLVER.BASE_LR", "fast"], "mismatch"),
    ],
)
def test_faults_are_one_line_about_file_and_key(config_file, overrides, message):
    with pytest.raises(ConfigError) as error:
        read_config(config_file, overrides)
    assert message in str(error.value)


def test_a_damaged_yaml_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("MODEL: [unclosed")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        read_config(str(path), [])


@pytest.mark.parametrize("end", [["--resume"], ["--resume", "--eval-only"]])
def test_an_option_after_the_overrides_is_named(end):
    with pytest.raises(
        ConfigError, match=r"option --resume is among the KEY VALUE pairs\. Put opt"
    ):
        read_config("segmentation/resnet18_t1.yaml", ["OUTPUT_DIR", "output", *end])
