"""The ``cellkin`` command."""
