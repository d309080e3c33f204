"""Does it hold? A package by name, because ppi-python installs a `tests` of its own."""
