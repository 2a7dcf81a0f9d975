"""Fuzzing of what reads requests: ``make fuzz``, or ``FUZZ_S=600 make fuzz TARGETS="image audio"``."""
