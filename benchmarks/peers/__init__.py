"""Ways of training a cell's replicas, one a module, all with the same entry ``start``.

All of them start from the same weights and see the same batches, so that their losses must agree;
they differ in how the arithmetic is done. What a way needs besides the arithmetic (drawing the
batches, gathering them) is part of its time.
"""
