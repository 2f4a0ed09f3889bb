"""What all targets here share: reading a machine file, writing tiles' code, the host tile."""
