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
"""The node files that ship: hosts to try things on without any hardware.

==============  ======================================================
``t4``          two Tesla T4
``a40``         two A40, their vGPUs on virtual functions
``grid``        a GRID K1 and a GRID K2: boards of several GPUs
``a100``        eight A100 on two NUMA nodes
``infiniband``  a host channel adapter with virtual functions
``nvme``        four NVMe drives
``mixed``       a bit of everything
``workstation`` an Intel GPU that splits, a desktop card with its audio
==============  ======================================================
"""

import importlib.resources
import urllib.parse

NAMES = (
    't4',
    'a40',
    'grid',
    'a100',
    'infiniband',
    'nvme',
    'mixed',
    'workstation',
)


def path(name: str) -> str:
    """Return the absolute path of a node file.

    :raises ValueError: there is no such file.
    """
    if name not in NAMES:
        raise ValueError(f'No node file {name!r}; there are {NAMES}')
    folder = importlib.resources.files('nova_accel.testing')
    return str(folder / 'nodes' / f'{name}.xml')


def uri(name: str) -> str:
    """Return the libvirt URI of a node file."""
    return f'test://{urllib.parse.quote(path(name))}'
