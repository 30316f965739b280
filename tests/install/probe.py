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
"""Run inside a throw-away environment: what does its nova load?

Prints one line of JSON. ``probe.py plain`` does as nova-compute does,
``probe.py launcher`` as nova-accel-compute does, ``probe.py nova`` looks at
nova alone.
"""

import importlib
import json
import sys

DRIVER = 'accel.LibvirtAccelDriver'


def main(way: str) -> None:
    if way == 'launcher':
        from nova_accel.cli import compute as launcher

        launcher.prepare()
    # First, as in nova-compute: it chooses the concurrency backend.
    compute = importlib.import_module('nova.cmd.compute')
    seen = {'nova-compute': compute.__file__}
    if way != 'nova':
        seen['driver'] = [base.__name__ for base in load().__mro__]
    print(json.dumps(seen))


def load() -> type:
    import nova.conf
    from nova import objects
    from nova.virt import driver

    objects.register_all()
    nova.conf.CONF([], project='nova', default_config_files=[])
    return type(driver.load_compute_driver(None, DRIVER))


if __name__ == '__main__':
    main(sys.argv[1])
