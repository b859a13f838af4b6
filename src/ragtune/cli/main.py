"""Entry point: runs a command and turns its outcome into an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer
from typer.exceptions import TyperException

from ragtune.cli.app import app
from ragtune.cli.output import complain
from ragtune.errors import RagtuneError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (the work failed), 2 (the call was wrong) or 130 (Ctrl-C)."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    sys.exit(_run(given, debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    command = typer.main.get_command(app)
    try:
        outcome = command.main(args=arguments, prog_name="ragtune", standalone_mode=False)
    except TyperException as error:
        error.show()  # type: ignore[attr-defined]  # every child has it, the base only lacks the name
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted()
    except RagtuneError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # the reader of our output went away (ragtune ... | head); there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        complain(f"{error.strerror}: {error.filename or 'while writing'}\n  do:    free space or choose another folder")
        return 1
    return outcome if isinstance(outcome, int) else 0


def _interrupted() -> int:
    complain("interrupted; what was finished is kept, run the same command again to go on")
    return INTERRUPTED
