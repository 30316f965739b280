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
"""nova-compute on a made-up host, for clouds without any accelerator.

    python -m nova_accel.cli.synthetic NAME NODE --config-file nova.conf

Registers with a real cloud under NAME and offers the devices of a node file
that ships with us. ``nova_accel.testing.synthetic`` says what is made up.
"""

import importlib
import os
import sys

from nova_accel.cli import compute
from nova_accel.testing import nodes


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[2] not in nodes.NAMES:
        sys.exit(
            'usage: python -m nova_accel.cli.synthetic NAME NODE '
            '[options of nova-compute]\n'
            f'NODE is one of {", ".join(nodes.NAMES)}'
        )
    name, node, *options = sys.argv[1:]
    sys.argv[:] = ['nova-compute', *options]
    # Before nova is loaded: its tests, too, run as nova-compute does.
    os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', '1')
    service = compute.prepare()
    synthetic = importlib.import_module('nova_accel.testing.synthetic')
    with synthetic.Host(name, node):
        service.main()


if __name__ == '__main__':
    main()
