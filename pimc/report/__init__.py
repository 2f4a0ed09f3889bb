"""What a compiled program is and costs: figures for people and for tools."""
