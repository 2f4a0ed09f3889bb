"""The ``pimc`` command. Commands import what they need when they run, so that ``pimc --help`` is quick."""
