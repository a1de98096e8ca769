from __future__ import annotations

from uactor_codegen.cli import main

raise SystemExit(main())
