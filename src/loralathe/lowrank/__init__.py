"""Pure functions on tensors: randomized SVD, rank policies, noise floor, algebra of factors."""
