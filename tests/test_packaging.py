"""The wheel, its metadata, and the refusals of the set-up script."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "requirements.txt")
SETUP_ENV = ROOT / "tools" / "setup_env.sh"

# `python -c` code that makes modules unimportable, as if they were not installed
BLOCK = "import sys; sys.modules.update(dict.fromkeys({names}))\n"


def run(*command: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for it."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **kwargs)


def run_ok(*command: object, **kwargs: object) -> str:
    done = run(*command, **kwargs)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def yaml_configs() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout for builds, with one more config in a new folder."""
    tree = tmp_path_factory.mktemp("a checkout") / "ct_lesion"
    tree.mkdir()
    for name in PACKAGED:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    for name in ("ct_lesion", "configs", "tools", "tests"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    (tree / "configs" / "new_folder").mkdir()
    (tree / "configs" / "new_folder" / "probe.yaml").write_text("VERSION: 2\n")
    return tree


@pytest.fixture(scope="module", params=["tree", "sdist"])
def wheel(request: pytest.FixtureRequest, tree: Path, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built once from the tree and once from the source distribution."""
    out = tmp_path_factory.mktemp("wheel")
    source = tree
    if request.param == "sdist":
        code = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
        run_ok(sys.executable, "-c", code, cwd=tree)
        (source,) = out.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index")
    run_ok(*pip, "--no-deps", "--no-build-isolation", "-w", out, source)
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def test_wheel_holds_package_configs_and_tools_without_the_benchmark(
    wheel: zipfile.ZipFile,
) -> None:
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {f"ct_lesion/{name}" for name in yaml_configs()}
    expected.add("ct_lesion/configs/new_folder/probe.yaml")
    # every file of the package is needed: modules, templates, tables
    ours = (path for path in (ROOT / "ct_lesion").rglob("*") if path.is_file())
    expected |= {str(path.relative_to(ROOT)) for path in ours if "__pycache__" not in path.parts}
    expected |= {f"ct_lesion_tools/{path.name}" for path in (ROOT / "tools").glob("*.py")}
    benchmark = {name for name in expected if "/benchmark" in name}
    assert len(benchmark) > 1
    assert found == expected - benchmark


def test_metadata(wheel: zipfile.ZipFile) -> None:
    about = metadata(wheel)
    version = re.search(r'__version__ = "(.+)"', (ROOT / "ct_lesion/version.py").read_text())
    assert about["Version"] == version.group(1)
    assert about["Requires-Python"] == ">=3.11"
    assert "Apache-2.0" in (about["License-Expression"] or about["License"])
    assert "CC-BY-NC-SA-4.0" in (about["License-Expression"] or about["License"])
    licences = [name for name in wheel.namelist() if name.endswith("LICENSE")]
    assert len([name for name in licences if ".dist-info/" in name]) == 2, "code and weights"
    required = [Requirement(line).name.lower() for line in about.get_all("Requires-Dist")]
    assert "torch" in required
    assert not [name for name in required if "detectron" in name]


@pytest.mark.parametrize("wheel", ["sdist"], indirect=True)
def test_unpacked_wheel_finds_its_configs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        "import ct_lesion; print(ct_lesion.__file__);"
        "print(ct_lesion.get_config_file('new_folder/probe.yaml'))"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    out = run_ok(sys.executable, "-W", "ignore", "-c", code, cwd=tmp_path, env=env)
    package = tmp_path / "ct_lesion"
    assert out.splitlines()[-2:] == [
        str(package / "__init__.py"),
        str(package / "configs" / "new_folder" / "probe.yaml"),
    ]


def test_setup_py_reads_the_version_without_torch_or_the_package(tree: Path) -> None:
    block = BLOCK.format(names=["torch", "torchvision", "detectron2", "ct_lesion", "numpy"])
    code = block + "import runpy; sys.argv = ['setup.py', '--version']; runpy.run_path('setup.py')"
    out = run_ok(sys.executable, "-c", code, cwd=tree)
    assert f'__version__ = "{out.split()[-1]}"' in (ROOT / "ct_lesion/version.py").read_text()


def test_import_without_detectron2_says_how_to_get_it(tmp_path: Path) -> None:
    code = BLOCK.format(names=["detectron2"]) + "import ct_lesion"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = run(sys.executable, "-c", code, cwd=tmp_path, env=env)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "Detectron2" in last and "`ct-lesion install-detectron2`" in last


def test_pins_cover_and_satisfy_the_requirements(wheel: zipfile.ZipFile) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {pin.name.lower(): str(pin.specifier).removeprefix("==") for pin in pins}
    for line in metadata(wheel).get_all("Requires-Dist"):
        wanted = Requirement(line)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), line


INSTALLERS = ("requirements.txt", "setup.py", "tools/setup_env.sh", "tools/install_detectron2.py")


@pytest.mark.parametrize("name", INSTALLERS)
def test_packages_come_from_the_index_that_pip_is_configured_with(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"index-url|\bhttps?://\w", text)


# ---------------------------------------------------------------- the set-up script


def shim(folder: Path, name: str, body: str) -> None:
    """Write a program that replaces the real one where ``folder`` comes first in PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def setup_env(tmp_path: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script for an environment in ``tmp_path``, with the shims first in PATH."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "CT_LESION_VENV")}
    clean["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{clean['PATH']}"
    clean["CT_LESION_VENV"] = str(tmp_path / "an environment")
    return run("bash", SETUP_ENV, *args, env=clean | env, cwd=tmp_path)


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("setup_env: ")
    for word in words:
        assert word in done.stderr


def assert_untouched(tmp_path: Path) -> None:
    assert not (tmp_path / "an environment").exists()


PYTHONS = ("python3", "python3.11", "python3.12", "python3.13")


def test_setup_names_the_unsuitable_pythons(tmp_path: Path) -> None:
    for name in PYTHONS[:-1]:
        shim(tmp_path / "bin", name, "echo 3.9.18")
    shim(tmp_path / "bin", PYTHONS[-1], "exit 127")  # a broken pyenv shim
    done = setup_env(tmp_path)
    assert_refused(done, "no suitable Python", "3.11 to 3.13", "python3 is 3.9.18")
    assert "python3.13 is" not in done.stderr
    assert_untouched(tmp_path)


def test_setup_without_any_python(tmp_path: Path) -> None:
    for name in PYTHONS:
        shim(tmp_path / "bin", name, "exit 127")
    assert_refused(setup_env(tmp_path), "no suitable Python", "found none")


def test_setup_uses_the_python_of_the_variable(tmp_path: Path) -> None:
    shim(tmp_path / "bin", "my-python", "echo 3.14.0")
    assert_refused(setup_env(tmp_path, PYTHON="my-python"), "my-python is 3.14.0")


def test_setup_without_the_venv_module(tmp_path: Path) -> None:
    for name in PYTHONS:
        body = 'case "$*" in *ensurepip*) exit 1 ;; *) echo 3.12.3 ;; esac'
        shim(tmp_path / "bin", name, body)
    assert_refused(setup_env(tmp_path), "python3 (3.12.3) has no venv", "python3-venv")
    assert_untouched(tmp_path)


def test_setup_on_a_full_disk(tmp_path: Path) -> None:
    body = "echo Filesystem 1024-blocks Used Available Capacity Mounted; echo x 9 9 4000000 9% /"
    shim(tmp_path / "bin", "df", body)
    done = setup_env(tmp_path, PYTHON=sys.executable)
    assert_refused(done, "3 GB free", "8 GB needed", "CT_LESION_VENV")
    assert_untouched(tmp_path)


def foreign(tmp_path: Path) -> Path:
    """A file in a folder that the script did not make."""
    file = tmp_path / "an environment" / "bin" / "python"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    return file


def test_setup_refuses_an_environment_that_it_did_not_make(tmp_path: Path) -> None:
    file = foreign(tmp_path)
    done = setup_env(tmp_path)
    assert_refused(done, "was not made by this script", "'pip install -e .'")
    assert "'python tools/install_detectron2.py'" in done.stderr
    assert [p for p in (tmp_path / "an environment").rglob("*") if p.is_file()] == [file]
    assert file.read_text() == "precious"


def test_setup_keeps_an_unfinished_environment_with_a_detectron2_of_the_user(
    tmp_path: Path,
) -> None:
    venv = tmp_path / "an environment"
    build = venv / "lib/python3.12/site-packages/detectron2-0.6.dist-info"
    build.mkdir(parents=True)
    (venv / ".ct_lesion").mkdir()
    (venv / ".ct_lesion/ours").touch()
    done = setup_env(tmp_path, PYTHON=sys.executable)
    assert_refused(done, "holds your own build of Detectron2")
    assert build.is_dir()


def test_setup_help_and_unknown_options(tmp_path: Path) -> None:
    done = setup_env(tmp_path, "--help")
    assert done.returncode == 0
    assert "CT_LESION_VENV" in done.stdout and "tools/install_detectron2.py" in done.stdout
    assert_refused(setup_env(tmp_path, "--quick"), "unknown option --quick")
    assert_untouched(tmp_path)
