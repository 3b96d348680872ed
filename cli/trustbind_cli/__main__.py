"""``python -m trustbind_cli``: the same as the command ``trustbind``."""

from trustbind_cli.main import main

main()
