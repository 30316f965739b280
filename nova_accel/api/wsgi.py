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
"""``nova_accel.api.wsgi:application``, for any WSGI server.

Nova's configuration is read from /etc/nova/nova.conf, or as the variables
OS_NOVA_CONFIG_DIR and OS_NOVA_CONFIG_FILES say.
"""

# First of all: it decides about threads, as in nova-api.
from nova import monkey_patch

monkey_patch.patch(backend='threading')

from nova import objects  # noqa: E402

# What the handlers import has classes of them.
objects.register_all()

from nova_accel.api import deploy  # noqa: E402

application = deploy.load()
