"""The calling side: one connection per (process, actor), one session per thread."""
