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
"""Whitelists that several functional tests use."""

T4_8Q = """
version: 1
devices:
  t4-8q:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
"""

# Four slots in two halves.
T4_LEVELS = """
version: 1
devices:
  t4-4q:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-4Q]
    resource_class: CUSTOM_T4_4Q
    levels: {half: 2, quarter: 2}
"""

A100 = """
version: 1
devices:
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b0"}
    resource_class: CUSTOM_A100
"""

A40_8Q = """
version: 1
devices:
  a40-8q:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "2235"}
    models: [NVIDIA A40-8Q]
    resource_class: CUSTOM_A40_8Q
"""

# Through XAPI, which names its types so.
K1_K180Q = """
version: 1
devices:
  k1:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "0ff2"}
    models: [GRID K180Q]
"""

MIXED = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
  nvme:
    kind: pci
    match: {class: "0108"}
    resource_class: CUSTOM_NVME
"""

HCA_LEVELS = """
version: 1
devices:
  hca:
    kind: pci
    match: {vendor_id: "15b3", dev_type: type-VF}
    resource_class: CUSTOM_HCA_VF
    levels: {half: 2, function: 4}
"""

T4_DYNAMIC = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    mode: dynamic
    models: [GRID T4-8Q, GRID T4-16Q]
"""

T4_ONCE = f"""{T4_8Q.rstrip()}
    one_time_use: yes
    clean: mdev
"""


def a100_pool(*lines: str) -> str:
    """Return a whitelist that offers all A100s of a host from one pool.

    :param lines: what its rule says besides.
    """
    more = ''.join(f'    {line}\n' for line in ('pool: host', *lines))
    return f'{A100}{more}'
