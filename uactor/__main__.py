"""``python -m uactor``: the ``uactor`` command."""

import sys

from uactor.cli import main

sys.exit(main())
