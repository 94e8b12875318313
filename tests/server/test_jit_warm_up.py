"""Nothing is compiled while callers wait."""

import os
import subprocess
import sys
from pathlib import Path

import stepped_engine

SCRIPT = """
import numba.core.event as event
import numpy as np
from stepped_engine import Asked, SteppedEngine
from toys import random_input, toy

from elman_server.engine.jit_warm_up import warm_up_jit

warm_up_jit()
with event.install_recorder("numba:compile") as recorder:
    stepped, asker = SteppedEngine(toy("lstm"), max_slice=2), Asked()
    opened = stepped.open("a", "b")
    stepped.runtime.sessions.key.models(np.array(opened.handles, np.uint64))  # which the door asks first
    for positions in (None, [3, 3]):
        data = random_input(stepped.toy.spec, np.random.default_rng(0), 6)
        stepped.submit(stepped.frame(opened.handles, data, [3, 3], asker, positions=positions))
        stepped.drain()
    data[0] = np.nan
    stepped.submit(stepped.frame(opened.handles, data, [3, 3], asker))
    stepped.drain()
    stepped.clock.time += 1e6
    stepped.expire()
assert len(asker.ended) == 6, asker.ended
assert not recorder.buffer, recorder.buffer[:3]
"""


def test_what_the_warm_up_compiles_is_all_that_callers_need(tmp_path: Path) -> None:
    folder = str(Path(stepped_engine.__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r})\n{SCRIPT}"
    # From a cache that has it already nothing would be compiled at all.
    own_cache = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=own_cache, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
