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
"""Import one large image into XAPI; print the MiB that it took above idle.

A process of its own: nothing else has used its memory. The arguments are the
URL of a pool and the GiB of the image.
"""

import pathlib
import sys

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova import objects

from nova_accel.backends import xapi
from nova_accel.backends.xapi import transfer

objects.register_all()

from nova_accel.virt.xapi import images  # noqa: E402  (needs objects)

PIECE = bytes(1 << 20)


def memory(key: str) -> int:
    """Return VmRSS (now) or VmHWM (at most) in MiB."""
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        name, _, value = line.partition(':')
        if name == key:
            return int(value.split()[0]) >> 10
    raise LookupError(key)


def main(url: str, gib: int) -> None:
    length = gib << 30
    session = xapi.Session(xapi.Settings(url, password='password'))
    pool = session.call('pool.get_all')[0]
    vdi = session.call(
        'VDI.create',
        {
            'name_label': 'large',
            'name_description': '',
            'SR': session.call('pool.get_default_SR', pool),
            'virtual_size': length,
            'type': 'user',
            'sharable': False,
            'read_only': False,
            'other_config': {},
        },
    )
    idle = memory('VmRSS')
    with transfer.Upload(session, vdi, images.RAW, length) as upload:
        sink = images.Sink(images.RAW, length, lambda size: upload)
        for _each in range(gib << 10):
            sink.write(PIECE)
        sink.finish()
    print(memory('VmHWM') - idle)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
