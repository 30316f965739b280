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
"""``nova-accel-compute``: nova-compute where nova itself is editable.

nova loads ``accel.LibvirtAccelDriver`` from ``nova.virt.accel``, a file that
this package puts beside nova's own. An editable nova lies elsewhere, and
then that file is out of reach: so name the module by hand.
"""

import sys


def main() -> None:
    """Run nova-compute, with the drivers under the name nova looks for."""
    # First: this import chooses nova's concurrency backend.
    from nova.cmd import compute

    from nova_accel.virt import drivers

    sys.modules['nova.virt.accel'] = drivers
    compute.main()
