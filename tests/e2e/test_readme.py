"""What the README shows runs as it stands."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from served import Serve

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "models" / "bundles"


async def test_the_readmes_client_example_runs_as_it_stands(serve: Serve) -> None:
    served = await serve(models=BUNDLES)
    blocks = blocks_of_the_readme()
    program = blocks[0].replace("localhost:8470", served.server.address)
    assert program != blocks[0]
    said = await run(sys.executable, "-c", program)
    assert "position 94 h_n (2, 1, 256)" in said


MODULE = """
import torch
from torch import nn
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.items, self.rnn = nn.Embedding(9, 3), nn.GRU(5, 6, batch_first=True)
        self.actor, self.critic = nn.Linear(6, 4), nn.Linear(6, 1)
    def forward(self, item, x):
        y, _ = self.rnn(torch.cat([self.items(item), x], -1))
        return {"policy": self.actor(y).softmax(-1), "value": self.critic(y)}
torch.manual_seed(1)
model, item, x = Network(), torch.randint(9, (2, 5)), torch.randn(2, 5, 2)
"""
CLIENT = """
import elman
import numpy as np
ids, x = np.arange(5), np.ones((5, 2), np.float32)
client = elman.Client("ADDRESS")
"""


async def test_the_readmes_module_is_packed_served_and_stepped_as_it_stands(serve: Serve, tmp_path: Path) -> None:
    _, packing, stepping = blocks_of_the_readme()
    said = await run(sys.executable, "-c", MODULE + packing.replace("bundles/", f"{tmp_path}/"))
    assert "proved" in said
    served = await serve(models=tmp_path)
    program = CLIENT.replace("ADDRESS", served.server.address) + stepping
    shown = "    print(result['policy'].shape, result['value'].shape, twin.position)\n"
    said = await run(sys.executable, "-c", program + shown)
    assert "(5, 4) (5, 1) 5" in said


def blocks_of_the_readme() -> list[str]:
    """The first is the client's example; then a module is packed and stepped."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    return blocks


async def test_the_demo_predicts_through_the_server_as_torch_does_in_process() -> None:
    said = await run(sys.executable, "-m", "examples.demo")
    served, in_process = re.findall(r"(?:through the server|torch in process) +(\d\.\d{3})", said)
    assert served == in_process
    assert "session 8" in said
    assert 'elman_padded_steps_total{model="char-lm",version="1"} 0.0' in said


async def run(*command: str) -> str:
    """What a program that must succeed prints."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
