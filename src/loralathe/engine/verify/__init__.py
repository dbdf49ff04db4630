"""Is a file what its record says? Its tensors are computed again in float64, from the formulas themselves.

`linear` reads a formula at one place of the model, `reference` gives its numbers; neither knows the engine's
forms, bands or fused sums. The engine's own result is compared, too, bit for bit (`replay`).
"""
