"""Packaging of ct_lesion.

Detectron2 is required but not listed: the package index has no package of that name, and a listed
republication would be installed over the user's own build. ``ct-lesion install-detectron2``
installs one unless it is already installed.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version in ``ct_lesion/version.py``, read as text.

    Importing the package would need torch and Detectron2 at build time.
    """
    source = (ROOT / "ct_lesion" / "version.py").read_text(encoding="utf-8")
    match = re.search(r"""^__version__\s*(?::\s*str\s*)?=\s*["']([^"']+)["']""", source, re.M)
    if match is None:
        raise RuntimeError("ct_lesion/version.py holds no line like: __version__ = '1.2.3'")
    return match.group(1)


def read_readme() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


class BuildWithoutBenchmark(build_py):
    """Leaves out ``tools/benchmark.py``, because ``ct_lesion.benchmark`` is not packaged."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        return [m for m in modules if m[:2] != ("ct_lesion_tools", "benchmark")]


setup(
    name="ct_lesion",
    version=read_version(),
    description="Finds, segments and scores lesions in chest CT: a Detectron2 extension",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    author="The ct_lesion authors",
    # for the code, and for the trained weights in ct_lesion/weights
    license="Apache-2.0 AND CC-BY-NC-SA-4.0",
    license_files=["LICENSE", "ct_lesion/weights/LICENSE"],
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["ct_lesion", "ct_lesion.*"], exclude=["ct_lesion.benchmark*"]),
        "ct_lesion.configs",
        "ct_lesion_tools",
    ],
    # configs/ lies beside the package in a checkout and inside it once installed;
    # ct_lesion.get_config_file looks in both places. The tools are not a part of ct_lesion, because
    # importing that needs Detectron2, which one of them installs.
    package_dir={"ct_lesion.configs": "configs", "ct_lesion_tools": "tools"},
    package_data={
        "ct_lesion": ["weights/*"],
        "ct_lesion.configs": ["*.yaml", "**/*.yaml"],
        "ct_lesion.audit": ["templates/*"],
        "ct_lesion.pages": ["templates/*"],
        "ct_lesion.report": ["templates/*"],
        "ct_lesion.report.paper": ["*.json"],
        "ct_lesion.report.sections": ["*.json"],
        "ct_lesion.prediction": ["templates/*"],
    },
    include_package_data=False,
    cmdclass={"build_py": BuildWithoutBenchmark},
    zip_safe=False,
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=1.24",
        "scipy>=1.10",
        "scikit-learn>=1.3",
        "statsmodels>=0.14",
        "Jinja2>=3.1",
        "Pillow>=9.5",
        "opencv-python>=4.7",
        "pycocotools>=2.0.6",
        "matplotlib>=3.7",
        "safetensors>=0.4",
        "tabulate>=0.9",
        "tqdm>=4.64",
        "termcolor>=2.0",
        "PyYAML>=6.0",
        "SimpleITK>=2.3",
        "pydicom>=3.0",
        "highdicom>=0.24",
        # Detectron2's requirements; the metadata of the republished wheel omits some
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.9",
        "yacs>=0.1.8",
        "omegaconf>=2.1,<2.4",
        "hydra-core>=1.1",
        "cloudpickle>=2.0",
        "packaging>=21.0",
        "tensorboard>=2.10",
        "setuptools<82",  # detectron2.model_zoo imports pkg_resources
    ],
    entry_points={
        "console_scripts": [
            "ct-lesion = ct_lesion_tools.__main__:main",
            "ct-lesion-predict = ct_lesion_tools.__main__:predict",
        ],
    },
    extras_require={
        "fast": ["numba>=0.60"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18"],
        "dev": [
            "pytest>=8.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "hypothesis>=6.80",
            "ruff>=0.9",
            "selenium>=4.20",
        ],
    },
)
