"""The table and the JSON of a small network."""

import json

SMALL = [
    "INPUT.MIN_SIZE_TEST",
    128,
    "MODEL.RPN.POST_NMS_TOPK_TEST",
    20,
    "MODEL.FPN.OUT_CHANNELS",
    16,
]


def test_table_and_json_agree(run_tool, tmp_path):
    arguments = ["--config-file", "quick/classification.yaml", "--size", 64, "--json", "size.json"]
    done = run_tool("analyze_model.py", *arguments, *SMALL)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "size.json").read_text())
    assert done.stdout.startswith("Input: 64 x 64, 20 proposals, 64 regions\n")
    assert "torchvision::roi_align x 1" in done.stdout
    assert "Written: size.json" in done.stdout
    assert (content["side"], content["regions"]) == (64, 64)
    for part in (*content["parts"], content["total"]):
        (line,) = (row for row in done.stdout.splitlines() if row.startswith(f"{part['part']} "))
        assert f"{part['parameters']:,}" in line
        assert f"{part['flops'] / 1e9:.4f}" in line
    assert content["total"]["flops"] == sum(part["flops"] for part in content["parts"])


def test_an_unknown_key_is_one_line_and_nothing_is_written(run_tool, tmp_path):
    arguments = ["--config-file", "quick/segmentation.yaml", "--json", "size.json", "MODEL.NO", 1]
    done = run_tool("analyze_model.py", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and "MODEL.NO" in done.stderr
    assert not list(tmp_path.iterdir())
