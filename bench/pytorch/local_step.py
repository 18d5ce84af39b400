"""The local step of the benchmark `native` in PyTorch on the processor, with one thread: samples per second and milliseconds of processor time
for a step, as JSON.

784-3x1024-10, batch 128: each block dense and relu, with a linear head of its own that begins with zeros, on an input through which no gradient
leaves; cross-entropy; Adam in one fused step over all parameters. One backward pass for the sum of the losses is as fast here as one for each
block, or a little faster.

    python local_step.py STEPS      0: only the versions

Exit status 3: there is no PyTorch, 4: one without a fused Adam on the processor.
"""

import json
import platform
import sys
import time
import warnings

# NumPy is not needed.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

try:
    import torch
    from torch import nn
except ImportError as error:
    print(error)
    sys.exit(3)

BATCH, CLASSES, WARM_UP = 128, 10, 20
WIDTHS = [784, 1024, 1024, 1024]


def adam(parameters: list) -> torch.optim.Optimizer:
    try:
        return torch.optim.Adam(parameters, lr=2e-3, eps=1e-6, fused=True)
    except (RuntimeError, TypeError) as error:
        print(f"PyTorch {torch.__version__}: {error}")
        sys.exit(4)


def measure(steps: int) -> dict:
    blocks = [nn.Linear(inputs, units) for inputs, units in zip(WIDTHS, WIDTHS[1:])]
    heads = [nn.Linear(units, CLASSES) for units in WIDTHS[1:]]
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    parameters = [parameter for module in blocks + heads for parameter in module.parameters()]
    optimizer = adam(parameters)
    inputs = torch.rand(steps * BATCH, WIDTHS[0])
    labels = torch.randint(CLASSES, (steps * BATCH,))

    started, before = time.perf_counter(), time.process_time()
    for step in range(steps):
        if step == WARM_UP:
            started, before = time.perf_counter(), time.process_time()
        here = slice(step * BATCH, (step + 1) * BATCH)
        x, y = inputs[here], labels[here]
        optimizer.zero_grad()
        losses = []
        for block, head in zip(blocks, heads):
            h = torch.relu(block(x))
            losses.append(nn.functional.cross_entropy(head(h), y))
            x = h.detach()
        sum(losses).backward()
        optimizer.step()
    seconds, cpu_seconds, counted = time.perf_counter() - started, time.process_time() - before, steps - WARM_UP
    return {"samplesPerSecond": counted * BATCH / seconds, "cpuMsPerStep": 1000 * cpu_seconds / counted}


torch.set_num_threads(1)
torch.set_num_interop_threads(1)
torch.manual_seed(1)
steps = int(sys.argv[1])
versions = {"torch": torch.__version__, "python": platform.python_version()}
if steps == 0:
    adam([torch.zeros(1, requires_grad=True)])
print(json.dumps({**versions, **(measure(steps) if steps > 0 else {})}))
