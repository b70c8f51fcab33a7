"""The list of the models that ship with the package."""

from ct_lesion.checkpoint import shipped_models


def test_each_shipped_model_is_listed_with_its_origin(run_tool):
    listed = run_tool("models.py").stdout
    for name, path in shipped_models().items():
        assert f"ct_lesion://{name}" in listed
        assert str(path) in listed
    assert "ct_lesion://public_ct_resnet18_t1 (default)" in listed
    assert "12 COVID-19 patients" in listed
    assert "AP50 44.2" in listed
    assert "CC BY-NC-SA 4.0" in listed
