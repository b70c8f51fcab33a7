"""Help and error handling of the command lines in ``tools/``."""

import argparse
import io
import sys
from collections.abc import Callable

from .errors import USER_ERROR, one_line

INTERRUPTED = 130  # exit code


def tool_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the tool's docstring.

    Args:
        doc: the first paragraph goes before the options, the rest after them.
    """
    first, _, rest = doc.partition("\n\n")
    return argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run_tool(main: Callable[[], object]) -> None:
    """Run a tool's ``main``; a user error prints one line and exits with code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        print(f"Error: {line}", file=sys.stderr)
        sys.exit(USER_ERROR)
