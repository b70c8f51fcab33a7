"""The command ``ct-lesion``: lists the jobs, or runs one."""

import ast
import importlib
import re
import sys
from pathlib import Path

# jobs that are not named like their file
SHORT_NAMES = {"audit_dataset": "audit", "train_net": "train"}
INSTALL = "install-detectron2"  # runs without Detectron2, and so without ct_lesion
USAGE = """\
usage: ct-lesion JOB [ARGUMENTS]
       ct-lesion JOB --help

Find, segment and score lesions in chest CT. For research use only. Not for clinical use.

jobs:"""
START = """
Start with your own scan; the page with the results is predictions/index.html:
  ct-lesion predict scan.nii.gz
Or, in a checkout, try all steps on synthetic CT: bash tools/quickstart.sh"""


def find_jobs() -> dict[str, Path]:
    """The file of each job, by the job's name."""
    files = [p for p in Path(__file__).parent.glob("*.py") if not p.name.startswith("__")]
    return {SHORT_NAMES.get(p.stem, p.stem.replace("_", "-")): p for p in sorted(files)}


def first_line(file: Path) -> str:
    """The first line of a module's docstring; the module is not imported."""
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]


def print_jobs() -> None:
    jobs = find_jobs()
    width = max(map(len, jobs))
    lines = [f"  {name:{width}}  {first_line(jobs[name])}" for name in sorted(jobs)]
    print(USAGE, *lines, START, sep="\n")


def as_jobs(text: str) -> str:
    """A help text with ``ct-lesion JOB`` in place of ``python tools/FILE.py``."""
    jobs = {file.stem: job for job, file in find_jobs().items()}
    return re.sub(r"(?:python )?tools/(\w+)\.py", lambda m: f"ct-lesion {jobs[m[1]]}", text)


def run_job(name: str) -> None:
    """Run a job with the arguments in ``sys.argv[1:]``."""
    try:
        module = importlib.import_module(f"ct_lesion_tools.{find_jobs()[name].stem}")
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("ct_lesion"):
            raise  # a bug
        if package == "detectron2":
            sys.exit(f"Error: Detectron2 is not installed: run `ct-lesion {INSTALL}`.")
        sys.exit(f"Error: {error}. Install ct_lesion again, with its requirements.")
    module.__doc__ = as_jobs(module.__doc__)  # shown by --help
    if name == INSTALL:
        module.main()
    else:
        from ct_lesion.command_line import run_tool

        run_tool(module.main)


def predict() -> None:
    """The command ``ct-lesion-predict``."""
    run_job("predict")


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        return print_jobs()
    name, jobs = arguments[0], find_jobs()
    by_file = {file.name: job for job, file in jobs.items()}
    name = by_file.get(f"{name.removesuffix('.py').replace('-', '_')}.py", name)
    if name not in jobs:
        sys.exit(f"Error: unknown job {name}. Jobs: {', '.join(sorted(jobs))}.")
    sys.argv = [f"ct-lesion {name}", *arguments[1:]]
    run_job(name)


if __name__ == "__main__":
    main()
