"""Proxies, which represent objects that live in an actor process."""
