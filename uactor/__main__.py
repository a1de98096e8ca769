"""``python -m uactor``: the ``uactor`` command."""

import sys

from uactor.cli.main import main

sys.exit(main())
