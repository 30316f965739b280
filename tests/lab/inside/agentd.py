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
"""Serves the lab's requests inside the machine. Standard library only.

A request is a length and a JSON object: ``{"script", "timeout"}`` runs it in
bash, ``{"path", "text"}`` writes a file, ``{"shell"}`` turns the connection
into a terminal. There is no protection: the port is reachable from the
loopback interface of the lab's host only.
"""

import json
import os
import pathlib
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import threading


def main(port: int) -> None:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('0.0.0.0', port))
    server.listen(16)
    while True:
        conn, _peer = server.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def serve(conn: socket.socket) -> None:
    with conn:
        try:
            (length,) = struct.unpack('!I', conn.recv(4, socket.MSG_WAITALL))
            request = json.loads(conn.recv(length, socket.MSG_WAITALL))
            if 'shell' in request:
                shell(conn)
            elif 'path' in request:
                reply(conn, 0, write(request))
            else:
                reply(conn, *run(request['script'], request['timeout']))
        except (OSError, ValueError, struct.error) as exc:
            print(f'request failed: {exc!r}', flush=True)


def reply(conn: socket.socket, code: int, output: str) -> None:
    raw = json.dumps({'code': code, 'output': output}).encode()
    conn.sendall(struct.pack('!I', len(raw)) + raw)


def write(request: dict[str, str]) -> str:
    path = pathlib.Path(request['path'])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(request['text'])
    return ''


def run(script: str, timeout: float) -> tuple[int, str]:
    child = subprocess.Popen(
        ['bash', '-c', script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _none = child.communicate(timeout=timeout)
        return child.returncode, output.decode(errors='replace')
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, _none = child.communicate()
        text = output.decode(errors='replace')
        return 124, f'{text}\nkilled after {timeout:.0f} s'


def shell(conn: socket.socket) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir('/root')
        os.environ['TERM'] = 'xterm'
        os.execv('/bin/bash', ['bash', '-i'])
    try:
        while True:
            ready, _w, _x = select.select([conn.fileno(), terminal], [], [])
            if terminal in ready:
                conn.sendall(os.read(terminal, 65536))
            if conn.fileno() in ready:
                data = conn.recv(65536)
                if not data:
                    break
                os.write(terminal, data)
    except OSError:
        pass  # the terminal reports its end as an error
    finally:
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == '__main__':
    main(int(sys.argv[1]))
