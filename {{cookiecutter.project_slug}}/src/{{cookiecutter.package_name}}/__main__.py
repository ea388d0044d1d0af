# PYTHON_ARGCOMPLETE_OK
from .engine.commands import main

raise SystemExit(main())
