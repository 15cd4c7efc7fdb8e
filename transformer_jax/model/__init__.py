"""The model: families of stacks, stacks of blocks, and the block where variants meet."""
