"""Mistakes of a user, as opposed to faults of the program.

Tools print the message of a :class:`UserError` and exit with 2; anything else is a bug and shows
its traceback.
"""

import sys
from collections.abc import Callable


class UserError(ValueError):
    """Input that cannot be used; the message says what is wrong, where, and what to do."""

    exit_code = 2


class ConfigError(UserError):
    """A config key, or keys that do not agree."""


def run_tool(main: Callable[[], object]) -> None:
    """Run a tool's ``main``; a user's mistake ends it with one message and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
