"""Proves that a Paddle model is the torch model it was made from: the same inputs to both, every figure compared."""
