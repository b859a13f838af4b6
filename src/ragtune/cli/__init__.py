"""The command line: thin commands over the library, errors without tracebacks, exit codes 0 / 1 / 2."""

from ragtune.cli.main import main

__all__ = ["main"]
