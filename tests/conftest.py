"""What every test runs under."""

import torch
from hypothesis import settings

# As workers do; two threads on two busy cores are many times slower than one.
torch.set_num_threads(1)

# No time limits: a busy machine is not a wrong answer.
settings.register_profile("widthwise", deadline=None)
settings.load_profile("widthwise")
