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
our wheel puts beside nova's own. An editable nova lies elsewhere. Then that
file is out of reach, and worse, the folder ``nova/`` that holds it can hide
the real one. So find nova first, and name our module by hand.
"""

import importlib
import importlib.util
import sys
import types


def main() -> None:
    """Run nova-compute, with our drivers under the name nova looks for."""
    prepare().main()


def prepare() -> types.ModuleType:
    """Return ``nova.cmd.compute``, once nova can find our drivers."""
    _uncover_nova()
    # First of all nova's modules: it chooses the concurrency backend.
    compute = importlib.import_module('nova.cmd.compute')
    # nova's main() does so too, but our drivers need its objects now.
    importlib.import_module('nova.objects').register_all()
    sys.modules['nova.virt.accel'] = importlib.import_module(
        'nova_accel.virt.drivers'
    )
    return compute


def _uncover_nova() -> None:
    # A folder without __init__.py comes before the finder of an editable
    # installation, which Python asks last.
    for finder in sys.meta_path:
        spec = finder.find_spec('nova', None)
        if spec is not None and spec.origin is not None:
            break
    else:
        sys.exit(
            'nova is not installed for this Python '
            f'({sys.executable}); nova-accel-compute starts its nova-compute.'
        )
    if spec.loader is not None and 'nova' not in sys.modules:
        module = importlib.util.module_from_spec(spec)
        sys.modules['nova'] = module
        spec.loader.exec_module(module)
