"""Networks and data to compile: seeded topologies, a trained Fashion-MNIST network, real models found in wheels."""
