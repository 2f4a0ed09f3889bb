"""Epitomes in ONNX models: looked for in the operators that make weights, in weights, and behind layers."""
