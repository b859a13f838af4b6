"""``python -m ragtune``, so that launchers such as torchrun can start it."""

from ragtune.cli import main

main()
