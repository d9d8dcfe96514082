"""Every compiled function of fastlin; they see arrays and scalars that Python has validated.

Nothing here checks its input: call `fastlin.functional`, `fastlin.train` or `fastlin.evaluate`
unless you do. Read in this order: `simd` (vectors as Numba values), `tiles` (the two matrix
products), `losses`, `features` and `optimizers` (what a step is made of), then `sgd`, `grid`,
`evaluate` and `gradients`, which put them together.
"""
