"""The command ct-lesion, as installed: the tools are the package ct_lesion_tools."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tool_runs import REPOSITORY, TOOLS

from tools.__main__ import main

MAIN = "import sys; from ct_lesion_tools.__main__ import main; sys.argv[0] = 'ct-lesion'; main()"
NOT_INSTALLED = "sys.modules.update(dict.fromkeys({names})); "


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "ct_lesion_tools").symlink_to(TOOLS, target_is_directory=True)
    return folder


@pytest.fixture
def ct_lesion(site: Path, tmp_path: Path):
    def run(*arguments: str, code: str = MAIN) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"},
        )

    return run


def without(*names: str) -> str:
    return MAIN.replace("; ", f"; {NOT_INSTALLED.format(names=names)}", 1)


def test_help_lists_each_job_with_its_first_line_and_imports_nothing_heavy(ct_lesion):
    heavy = "{'torch', 'numpy', 'detectron2', 'ct_lesion'} & set(sys.modules)"
    done = ct_lesion("--help", code=f"{MAIN}; print({heavy})")
    lines = done.stdout.splitlines()
    assert lines[-1] == "set()"
    for tool in TOOLS.glob("[a-z]*.py"):
        first = ast.get_docstring(ast.parse(tool.read_text())).splitlines()[0]
        assert first.endswith("."), f"{tool.name}: the first line is no sentence"
        assert [line for line in lines if line.endswith(f"  {first}")], tool.name
    assert max(map(len, lines)) <= 100


def test_each_tool_has_a_main_runs_as_a_script_and_stays_thin():
    for tool in TOOLS.glob("[a-z]*.py"):
        source, is_installer = tool.read_text(), tool.name == "install_detectron2.py"
        functions = [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
        assert "main" in functions, tool.name
        call = "main()" if is_installer else "run_tool(main)"
        assert source.endswith(f'\n\n\nif __name__ == "__main__":\n    {call}\n'), tool.name
        assert is_installer or source.count("\n") < 120, tool.name


@pytest.mark.parametrize("name", ["install-detectron2", "install_detectron2.py"])
def test_a_job_gets_its_arguments_under_either_name(ct_lesion, name):
    done = ct_lesion(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ct-lesion install-detectron2 ")


def test_an_error_of_a_job_is_one_line_and_exit_code_2(site, monkeypatch, capsys):
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "argv", ["ct-lesion", "report", "nothing", "--output", "report"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1, error


def test_an_unknown_job_is_refused(ct_lesion):
    done = ct_lesion("dance")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: unknown job dance. Jobs: analyze-model, audit, ")


@pytest.mark.parametrize("job", ["train", "show-predictions"])
def test_a_missing_detectron2_names_the_job_that_installs_it(ct_lesion, job):
    done = ct_lesion(job, "--help", code=without("detectron2"))
    assert done.returncode == 1
    assert "`ct-lesion install-detectron2`" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_install_detectron2_needs_neither_torch_nor_ct_lesion(ct_lesion):
    done = ct_lesion("install-detectron2", code=without("torch", "numpy", "ct_lesion"))
    assert done.returncode == 0, done.stderr
    assert "Detectron2 is already installed" in done.stdout
