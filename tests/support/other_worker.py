"""A program that speaks the protocol and is not ours: what it does with a command is up to the test."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

__all__ = ["write_other_worker"]

PRELUDE = """#!{python}
import json, os, signal, sys, time

def say(**fields):
    tell(json.dumps(fields).encode() + b"\\n")

def tell(data):
    while data:
        data = data[os.write(1, data):]

def hear():
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    return json.loads(line)

def answer(id, value=1, index=(0,), **more):
    outputs = {{"index": list(index), "payload": [value], "node": "echo"}}
    say(kind="execute_boundary_result", correlation_id=id, terminal_outputs=outputs, **more)

def hello(protocols=(1,)):
    say(kind="hello", protocols=list(protocols), pid=os.getpid(), sdk_version="0", language="test")

def ready():
    say(kind="ready", nodes=[{{"name": "echo", "group": "g", "consumes": [], "emits": []}}])

def boot():
    hello()
    assert hear()["kind"] == "bootstrap"
    ready()
    assert hear()["kind"] == "start_work"

def command():
    while True:
        message = hear()
        if message["kind"] == "stop":
            say(kind="stopped")
            os._exit(0)
        if message["kind"] == "execute_boundary":
            return message["correlation_id"]

def forever():
    while True:
        time.sleep(60)

"""


def write_other_worker(path: Path, body: str) -> None:
    """An executable that runs `body` after the words for it have been defined."""
    path.write_text(PRELUDE.format(python=sys.executable) + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
