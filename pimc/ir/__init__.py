"""The graph IR: ops, graph, text form, stages and verifier."""
