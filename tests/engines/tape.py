"""A recorder on the CPU in place of CUDA's."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Notes every operation that PyTorch carries out, with the tensors it works on."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the CPU may not look at a value\nwhile steps are recorded")
        result = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, result))
        return result

    @torch.inference_mode()
    def replay(self):
        """Repeat them on the same memory, as a CUDA graph does: no Python of the step runs."""
        for operation, args, kwargs, result in self.calls:
            again = operation(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    def __init__(self):
        self.recordings = 0

    def warm_up(self, run):
        for _ in range(3):
            run()

    def record(self, run):
        self.recordings += 1
        with Tape() as tape:
            run()
        return tape.replay
