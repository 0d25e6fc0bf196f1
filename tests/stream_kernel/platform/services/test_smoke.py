from stream_kernel import AsyncBoundarySupervisor, MultiprocessBootstrapSupervisor


def test_sync(make_config):
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as s:
        assert s.call("echo", 1) == {"value": 1}


async def test_async(make_config):
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]})) as s:
        assert await s.call("echo", 1) == {"value": 1}


async def test_async_inline(make_config):
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode="inline")) as s:
        assert await s.call("echo", 1) == {"value": 1}
