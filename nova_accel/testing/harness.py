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
"""Nova's own functional harness, made ready to use from outside nova.

Import this before anything else of nova: it decides between eventlet and
native threads (``OS_NOVA_DISABLE_EVENTLET_PATCHING``), as nova's own tests
do.
"""

import logging
import os
import sys

import nova.tests.functional  # noqa: F401  (patches the threading model)

from nova.conf import paths

_state_path_def = paths.state_path_def


def _installed_path(*parts: str) -> str:
    """Find files of the nova wheel, which lie below the prefix.

    Nova's fixtures look beside the package: right in a checkout only.
    """
    installed = os.path.join(sys.prefix, *parts)
    if os.path.exists(installed):
        return installed
    return str(_state_path_def(*parts))


paths.state_path_def = _installed_path

# It logs at the very end of a test, when nothing captures logs any more.
logging.getLogger('nova.thread_pool_factory').setLevel(logging.WARNING)
