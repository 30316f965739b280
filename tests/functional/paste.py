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
"""nova's api-paste.ini, changed as etc/api-paste-accel.ini says."""

import pathlib

from nova.conf import paths

from nova_accel.testing import harness  # noqa: F401  (finds nova's files)

OURS = pathlib.Path(__file__).parents[2] / 'etc' / 'api-paste-accel.ini'
_LAST = ' osapi_compute_app_v21\n'
_COMPOSITE = '[composite:osapi_compute]\n'
_MAP = 'use = call:nova.api.openstack.urlmap:urlmap_factory\n'


def write(folder: pathlib.Path) -> pathlib.Path:
    """Write the changed file; return where."""
    text = pathlib.Path(
        paths.state_path_def('etc', 'nova', 'api-paste.ini')
    ).read_text()
    assert text.count(_LAST) == 2, 'nova has other pipelines now'
    text = text.replace(_LAST, f' accel_guard{_LAST}')
    begin = f'{_COMPOSITE}{_MAP}'
    assert text.count(begin) == 1, 'nova has another composite now'
    text = text.replace(begin, f'{begin}/accelerator-hotplug: accel_hotplug\n')
    path = folder / 'api-paste.ini'
    path.write_text(f'{text}\n{OURS.read_text()}')
    return path
