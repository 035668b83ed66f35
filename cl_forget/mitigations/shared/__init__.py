"""What several mitigations have in common: memories, adapters, quadratics, sharpness."""
