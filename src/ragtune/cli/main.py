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
FREE_SPACE = "free some space, or choose another folder"
PERMISSION = "choose another folder, or change its permissions"
ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no file of this size: choose another folder",
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EROFS: PERMISSION,
}
ADVICE_ELSE = "check the path; --debug shows where it happened"


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
        if debug or error.strerror is None:
            raise
        place = error.filename or "while reading or writing"
        complain(f"{error.strerror}\n  where: {place}\n  do:    {ADVICE.get(error.errno or 0, ADVICE_ELSE)}")
        return 1
    if outcome == INTERRUPTED:
        # typer turns Ctrl-C into this code and says nothing
        return _interrupted()
    return outcome if isinstance(outcome, int) else 0


def _interrupted() -> int:
    complain("interrupted; what was finished is kept, run the same command again to go on")
    return INTERRUPTED
