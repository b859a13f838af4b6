"""Docstrings of the standard library: read from its source files, and from its compiled modules."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from ragtune.documents.python_units import Unit, paragraphs_of, split_lead

# Well documented modules and packages. A later Python has dropped some, and a system may keep some in packages of its
# own (tkinter): those that are not there are passed over. pdb is left out, for the language reference describes the
# debugger too, and two answers to one question would make it unfair.
MODULES = """
    _pydatetime _pydecimal _pyio abc aifc argparse ast asynchat asyncio asyncore base64 bdb bisect
    bz2 calendar cgi cgitb cmd code codecs codeop collections compileall concurrent configparser
    contextlib copy copyreg crypt csv ctypes dataclasses datetime dbm difflib dis distutils doctest
    email encodings enum filecmp fileinput fnmatch fractions ftplib functools genericpath getopt
    getpass gettext glob graphlib gzip hashlib heapq hmac html http imaplib imp importlib inspect io
    ipaddress json linecache locale logging lzma mailbox mailcap mimetypes modulefinder
    multiprocessing netrc nntplib numbers operator optparse os pathlib pickle pickletools pipes
    pkgutil platform plistlib poplib pprint profile pstats py_compile pyclbr pydoc queue quopri
    random re reprlib rlcompleter runpy sched secrets selectors shelve shlex shutil signal site
    smtpd smtplib socket socketserver sqlite3 ssl statistics string stringprep subprocess sunau
    symtable sysconfig tabnanny tarfile telnetlib tempfile textwrap threading timeit tkinter
    tokenize tomllib trace traceback tracemalloc turtle types typing unittest urllib uu uuid venv
    warnings wave weakref webbrowser wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zoneinfo
""".split()  # noqa: SIM905 - sixteen lines instead of a hundred and forty

# Written in C, so there is no source to read; importing these changes nothing. Where a module has a twin in Python
# (io, datetime, decimal), the twin's source is read instead.
COMPILED = {
    "builtins": "builtins",
    "_collections": "collections",
    "_functools": "functools",
    "_operator": "operator",
    "_socket": "socket",
    "_struct": "struct",
    "_thread": "threading",
    "array": "array",
    "gc": "gc",
    "itertools": "itertools",
    "marshal": "marshal",
    "math": "math",
    "mmap": "mmap",
    "posix": "os",
    "select": "select",
    "sys": "sys",
    "time": "time",
    "unicodedata": "unicodedata",
    "zlib": "zlib",
}
_PUBLIC_NAMES = {"_pydatetime": "datetime", "_pydecimal": "decimal", "_pyio": "io"}
_SIGNATURE = re.compile(r"^[\w.]+\s*\([^)]*\)\s*(->|=>|--|:|=|\.|$)\s*[\w\[\], ]*\.?$")


def docstring_units() -> Iterator[Unit]:
    """Every docstring of ``MODULES`` and ``COMPILED``, in the order of these lists and of the source."""
    yield from _source_units()
    for module, public in COMPILED.items():
        yield from _compiled_units(module, public=public)


def _source_units() -> Iterator[Unit]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for module in MODULES:
        file, package = library / f"{module}.py", library / module
        files = [file] if file.is_file() else sorted(package.rglob("*.py"), key=Path.as_posix)
        for path in files:
            parts = path.relative_to(library).with_suffix("").parts
            if not {"test", "tests", "__main__", "__pycache__"} & set(parts):
                yield from _file_units(path, module=module, name=".".join(parts).removesuffix(".__init__"))


def _file_units(path: Path, *, module: str, name: str) -> Iterator[Unit]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(path.read_bytes())
    group = _PUBLIC_NAMES.get(module, module)
    for qualified, signature, docstring in _docstrings(tree, name.replace(module, group, 1)):
        yield _unit(group, qualified, signature=signature, docstring=docstring)


def _docstrings(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, str, str]]:
    """(qualified name, signature, docstring) of a module or class and of everything public that it defines."""
    if own := ast.get_docstring(node):
        yield name, "", own
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _docstrings(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(child.name):
            signature = f"({ast.unparse(child.args)})"
            yield from ((f"{name}.{child.name}", signature, own) for own in [ast.get_docstring(child)] if own)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _compiled_units(module: str, *, public: str) -> Iterator[Unit]:
    try:
        owner = importlib.import_module(module)
    except ImportError:  # posix and mmap are not everywhere
        return
    for name, thing in sorted(vars(owner).items()):
        if name.startswith("_") or not callable(thing) or getattr(thing, "__module__", module) not in (module, public):
            continue
        if module == "builtins" and isinstance(thing, type):
            continue  # described by the language reference, as pdb is
        prefix = name if module == "builtins" else f"{public}.{name}"
        members = sorted(vars(thing).items()) if isinstance(thing, type) else []
        public_members = [(f"{prefix}.{own}", member) for own, member in members if not own.startswith("_")]
        for qualified, described in [(prefix, thing), *public_members]:
            docstring = described.__doc__ if callable(described) or inspect.isdatadescriptor(described) else None
            if docstring:
                signature = getattr(described, "__text_signature__", None) or ""
                cleaned = inspect.cleandoc(docstring)
                yield _unit(public, qualified, signature=signature.replace("$", ""), docstring=cleaned)


def _unit(group: str, name: str, *, signature: str, docstring: str) -> Unit:
    paragraphs = paragraphs_of(docstring)
    if len(paragraphs) > 1 and _SIGNATURE.match(paragraphs[0]):
        del paragraphs[0]
    lead, rest = split_lead(paragraphs)
    return Unit(group=group, name=name, title=name + signature, lead=lead, paragraphs=rest, kind="docstring")
