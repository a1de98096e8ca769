"""The command ``uactor``."""
