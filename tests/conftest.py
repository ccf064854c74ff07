"""What every test runs under."""

import torch

# As workers do; two threads on two busy cores are many times slower than one.
torch.set_num_threads(1)
