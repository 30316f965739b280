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

A100 = """
version: 1
devices:
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b0"}
    resource_class: CUSTOM_A100
"""
