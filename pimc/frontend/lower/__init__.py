"""How each family of operators becomes ops of the graph, one module a family; `pimc.frontend.rules` is the table."""
