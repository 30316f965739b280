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
"""Ask the zygote for a process: ``fork.py [--wait] LOG ENTRY ARGUMENT...``.

Prints the process's id; with ``--wait`` ends as it ended. Kept to what the
interpreter loads fastest, as this is what stands for privsep-helper.
"""

import json
import os
import socket
import sys


def main() -> int:
    wait = sys.argv[1] == '--wait'
    log, entry, *arguments = sys.argv[2 if wait else 1 :]
    request = {
        'entry': entry,
        'argv': arguments,
        'env': dict(os.environ),
        'cwd': os.getcwd(),
        'log': log,
        'group': os.getpgrp() if wait else 0,
        'wait': wait,
    }
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect('/run/zygote')
        conn.sendall(json.dumps(request).encode() + b'\n')
        answer = conn.makefile().read()
    if wait:
        return int(answer or 1)
    print(answer)
    return 0 if answer else 1


if __name__ == '__main__':
    sys.exit(main())
