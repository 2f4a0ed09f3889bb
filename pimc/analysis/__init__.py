"""Pure functions over graphs that return printable plans; passes apply the plans."""
