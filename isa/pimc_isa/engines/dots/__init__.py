"""A layer's dot products as its flow computes them: exact, sliced, ranged, or on noisy hardware."""
