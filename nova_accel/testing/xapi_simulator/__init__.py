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
"""A XenServer or XCP-ng pool without Xen: XAPI over a real socket.

Classes, fields, messages and errors are those of XAPI's published data model
(``facts.json``, written by ``tools/xapi_facts.py``). What they do is written
here, one noun a module. No Xen host was at hand: what the data model does not
say follows xen-api's sources and may differ from a real host.

It runs as a process of its own, ``nova-accel-xapi-simulator``, or in a thread
(``server.Simulator``), and shares no code with the driver that it is there to
test.

=============  =========================================================
facts, kinds   the data model: names, types, values on the wire
store          objects, their relations, and what changed when
world          everything there is: store, sessions, tasks, faults, data
dispatch       a message to whoever answers it
server, wire   HTTP: XML-RPC, images, control
vm, vgpu ...   what the messages of one class do
topology       the YAML file that says what there is
=============  =========================================================
"""
