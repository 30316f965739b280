#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Stands for ssh and scp between two machines of the lab.

How nova reaches another host's disks is not what the lab is about. It speaks
to the other machine's ``agentd.py``:

    ssh -o OPTION HOST COMMAND...
    scp [-r] [-C] FILE HOST:PATH  |  scp [-r] [-C] HOST:PATH FILE
"""

import base64
import json
import pathlib
import shlex
import socket
import struct
import sys

_PORT = 2222
_TIMEOUT = 120
# Bytes; an argument of a program may have 128 KiB.
_PIECE = 64 << 10


def ask(host: str, script: str) -> tuple[int, str]:
    """Run a script on another machine; return its exit code and output."""
    raw = json.dumps({'script': script, 'timeout': _TIMEOUT}).encode()
    with socket.create_connection((host, _PORT), 10) as conn:
        conn.settimeout(_TIMEOUT + 10)
        conn.sendall(struct.pack('!I', len(raw)) + raw)
        with conn.makefile('rb') as stream:
            (length,) = struct.unpack('!I', stream.read(4))
            answer = json.loads(stream.read(length))
    return answer['code'], answer['output']


def ssh(words: list[str]) -> int:
    while words[0] == '-o':
        words = words[2:]
    code, output = ask(words[0], ' '.join(words[1:]))
    sys.stdout.write(output)
    return code


def scp(words: list[str]) -> int:
    source, target = [word for word in words if not word.startswith('-')]
    if ':' in target:
        host, _colon, path = target.partition(':')
        path = shlex.quote(path)
        code, output = ask(host, f': > {path}')
        with open(source, 'rb') as file:
            while code == 0 and (piece := file.read(_PIECE)):
                text = base64.b64encode(piece).decode()
                script = f'base64 -d <<< {text} >> {path}'
                code, output = ask(host, script)
    else:
        host, _colon, path = source.partition(':')
        code, output = ask(host, f'base64 {shlex.quote(path)}')
        if code == 0:
            place = pathlib.Path(target)
            place = (
                place / path.rpartition('/')[2] if place.is_dir() else place
            )
            place.write_bytes(base64.b64decode(output))
    sys.stderr.write(output if code else '')
    return code


if __name__ == '__main__':
    name = pathlib.Path(sys.argv[0]).name
    sys.exit({'ssh': ssh, 'scp': scp}[name](sys.argv[1:]))
