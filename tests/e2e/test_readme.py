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
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    program = blocks[0].replace("localhost:8470", served.server.address)
    assert program != blocks[0]
    said = await run(sys.executable, "-c", program)
    assert "position 94 h_n (2, 1, 256)" in said


async def test_the_demo_predicts_through_the_server_as_torch_does_in_process() -> None:
    said = await run(sys.executable, str(ROOT / "examples" / "demo.py"))
    served, in_process = re.findall(r"(?:through the server|torch in process) +(\d\.\d{3})", said)
    assert served == in_process
    assert "session 8" in said
    assert 'elman_padded_steps_total{model="char-lm",version="1"} 0.0' in said


async def run(*command: str) -> str:
    """What a program that must succeed prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
