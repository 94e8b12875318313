"""A sequence's session is there for what the native surface does besides."""

import numpy as np
from oip_requests import request, stream_of, tensor
from served import Serve
from toys import assert_near, random_input, toy

import elman


async def test_a_sequence_is_forked_marked_exported_and_goes_on(serve: Serve) -> None:
    served, x = await serve("lstm"), random_input(toy("lstm").spec, np.random.default_rng(5), 4)
    output = toy("lstm").run(x)[0]
    async with stream_of(served) as stream, elman.AsyncClient(served.server.address) as client:
        await stream.send(request("lstm", x[:2], sequence_id=5, sequence_start=True))
        await stream.answer()
        model = await client.model("lstm")
        session = await model.session("oip-int:5", mode="resume")
        assert (session.resumed, session.position) == (True, 2)
        forks = await session.fork(2)
        await session.mark("here")
        copy = await model.import_session(await session.export(), id="copy")
        assert_near(await copy.step(x[2:]), output[2:])
        after = await forks.step(np.stack([x[2:], x[2:]], axis=1))  # [T, K, n]
        assert_near(after, np.stack([output[2:], output[2:]], axis=1))
        await stream.send(request("lstm", x[2:3], sequence_id=5))
        assert_near(tensor(await stream.answer())[0], output[2:3])
        await session.rewind("here")
        await stream.send(request("lstm", x[2:], sequence_id=5))
        assert_near(tensor(await stream.answer())[:, 0], output[2:])
