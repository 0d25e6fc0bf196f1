from stream_kernel import BoundaryExecutionError, MultiprocessBootstrapSupervisor, NodeContext, RuntimeConfig, node


@node(name="square")
def square(message: dict[str, int], ctx: NodeContext) -> dict[str, int]:
    return {"n": message["n"], "square": message["n"] ** 2}


def main() -> None:
    group = {"name": "execution.cpu", "workers": 2, "nodes": ["square"]}
    config = RuntimeConfig.from_mapping({"discovery_modules": ["__main__"], "process_groups": [group]})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        print(supervisor.call("square", {"n": 7}, timeout_seconds=5))
        numbers = ({"n": n} for n in range(1000))
        print(sum(answer["square"] for answer in supervisor.map("square", numbers)))
        try:
            supervisor.call("square", {"n": "seven"})
        except BoundaryExecutionError as error:
            print(f"{error} ({error.report.reason}, {error.delivery})")


if __name__ == "__main__":
    main()
