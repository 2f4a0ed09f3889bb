"""The engines that run programs: values, cycles, and the slow referee that does both."""
