"""The asyncio client: calls and a stream. Arguments: address, file of arrays, file for arrays."""

import asyncio
import sys

import numpy as np
import tritonclient.grpc.aio as grpcclient
from said import row, tensor

address, source, target = sys.argv[1:]
given = dict(np.load(source))
x = given["sequence"]


async def requests():
    for at in range(len(x)):
        for sequence_id in ("aio", 77):
            yield {
                "model_name": "gru",
                "inputs": row(x[at : at + 1]),
                "request_id": str(sequence_id),
                "sequence_id": sequence_id,
                "sequence_start": at == 0,
                "sequence_end": at == len(x) - 1,
                "enable_empty_final_response": at == 0,
            }


async def main():
    out = {}
    async with grpcclient.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_model_ready("lstm")
        calls = [client.infer("lstm", [tensor(given["batch"])]) for _ in range(4)]
        out["batch"] = np.stack([result.as_numpy("output") for result in await asyncio.gather(*calls)])
        parts = {"aio": [], "77": []}
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            parts[result.get_response().id].append(result.as_numpy("output"))
        out |= {name: np.concatenate(outputs) for name, outputs in parts.items()}
    np.savez(target, **out)


asyncio.run(main())
