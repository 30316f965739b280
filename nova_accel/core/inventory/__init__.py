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
"""From (whitelist, devices, claims) to the whole desired provider tree.

Two steps, both pure. ``offer`` depends on the whitelist and the hardware
only and is computed when one of them changes. ``desired`` adds what servers
hold and what is out of service, and is what gets written to Placement.
"""

from nova_accel.core.inventory import holdings
from nova_accel.core.inventory import offering
from nova_accel.core.inventory import service as services
from nova_accel.core.inventory import strangers
from nova_accel.core.inventory import tree
from nova_accel.core.inventory import values

Node = values.Node
Unit = values.Unit
Stock = values.Stock
Pool = values.Pool
Withheld = values.Withheld
Offer = values.Offer
Claim = values.Claim
Inventory = values.Inventory
KnownProvider = values.KnownProvider
Provider = values.Provider
Members = tree.Members
Holdings = holdings.Holdings
Service = services.Service
service = services.service
Faults = services.Faults
Elsewhere = offering.Elsewhere
offer = offering.offer
nowhere = offering.nowhere
free = holdings.free
read_unit = holdings.read
occupied = strangers.occupied
lacking = strangers.lacking
joined = tree.joined
desired = tree.desired
