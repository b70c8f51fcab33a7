from ct_lesion.data.datasets.covidx_lists import Problems
from ct_lesion.data.prepare.covidx_images import index_images


def test_index_finds_both_layouts_at_any_depth_and_returns_other_images(tmp_path):
    wanted = ("a/b/NCP_1_2_0003.PNG", "x/NCP/NCP/1/2/0004.jpg", "CP/5/6/0007.jpeg")
    others = ("NCP/1/0005.png", "x/y/z/0001.png", "NCP/p_1/2/0003.png", "overview.png")
    for name in (*wanted, *others, "notes.txt", ".hidden/CP/5/6/0008.png", "CP/5/6/._0007.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    problems = Problems()
    found, unknown = index_images(tmp_path, None, problems)
    assert found == dict(zip(("NCP_1_2_0003", "NCP_1_2_0004", "CP_5_6_0007"), wanted, strict=True))
    assert sorted(unknown) == sorted(others)
    assert not problems
    assert list(index_images(tmp_path, {"CP_5_6_0007"}, problems)[0]) == ["CP_5_6_0007"]


def test_two_files_of_one_slice_are_a_problem_if_it_is_wanted(tmp_path):
    for name in ("CP/5/6/0007.png", "CP_5_6_0007.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    problems = Problems()
    index_images(tmp_path, {"CP_5_6_0008"}, problems)
    assert not problems
    index_images(tmp_path, None, problems)
    assert "CP_5_6_0007: CP_5_6_0007.jpg, CP/5/6/0007.png" in str(problems)


def test_link_that_leads_back_up_ends(tmp_path):
    (tmp_path / "CP/5/6").mkdir(parents=True)
    (tmp_path / "CP/5/6/0007.png").touch()
    (tmp_path / "CP/5/6/up").symlink_to(tmp_path, target_is_directory=True)
    problems = Problems()
    assert index_images(tmp_path, None, problems)[0] == {"CP_5_6_0007": "CP/5/6/0007.png"}
    assert not problems
