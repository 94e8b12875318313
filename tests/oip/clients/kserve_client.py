"""KServe's own client. Arguments: address, file of arrays, file for arrays."""

import asyncio
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

address, source, target = sys.argv[1:]
given = dict(np.load(source))
x = given["sequence"]


def tensor(array, *, raw):
    made = InferInput("input", list(array.shape), "FP32")
    made.set_data_from_numpy(array, binary_data=raw)
    return made


async def main():
    out = {}
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("lstm")
        for label, raw in (("raw", True), ("typed", False)):
            answer = await client.infer(InferRequest("lstm", [tensor(given["batch"], raw=raw)]))
            out[label] = answer.outputs[0].as_numpy()
        parts = []
        for at in range(len(x)):
            parameters = {"sequence_id": "kserve", "sequence_start": at == 0, "sequence_end": at == len(x) - 1}
            step = InferRequest("gru", [tensor(x[at : at + 1, None], raw=True)], parameters=parameters)
            parts.append((await client.infer(step)).outputs[0].as_numpy())
        out["sequence"] = np.concatenate(parts)
        try:
            await client.infer(InferRequest("nothing", [tensor(given["batch"], raw=True)]))
        except grpc.RpcError as error:
            out["error"] = np.array([error.code().name, error.details()])
    np.savez(target, **out)


asyncio.run(main())
