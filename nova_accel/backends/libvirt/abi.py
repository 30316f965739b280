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
"""Numbers of libvirt's public interface, which never change.

Written down here so that nothing has to import the library: a connection
may come from libvirt-python, from a proxy around it, or from a test.
"""

LIST_PCI = 1 << 1
LIST_NET = 1 << 4
LIST_MDEV = 1 << 14
LIST_ACTIVE = 1 << 31

LIST_RUNNING_GUESTS = 1 << 0
LIST_STOPPED_GUESTS = 1 << 1

EVENT_LIFECYCLE = 0
EVENT_UPDATE = 1

CREATED = 0
DELETED = 1
