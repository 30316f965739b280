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
"""Entry point of a nova-compute of the cloud, with a fault if one is named.

    launcher FAULT NAME NODE [options of nova-compute]

``-`` for FAULT: none; for NODE: the hypervisor of this machine.
"""

import os
import sys


def main() -> None:
    fault, name, node, *options = sys.argv[1:]
    if node == '-':
        from nova.cmd import compute

        sys.argv[:] = ['nova-compute', *options]
        run = compute.main
    else:
        from nova_accel.cli import synthetic

        sys.argv[:] = ['synthetic', name, node, *options]
        run = synthetic.main
    if fault != '-':
        # nova's modules come first: they choose how threads are made.
        from nova_accel.cli import compute as prepared

        os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', '1')
        prepared.prepare()
        from tests.cloud.harness import planting

        planting.PLANTS[fault]()
    run()


if __name__ == '__main__':
    main()
