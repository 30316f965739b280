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
"""How tempest finds these tests: entry point ``tempest.test_plugins``."""

import os
import typing as ty

from oslo_config import cfg
from tempest import config
from tempest.test_discover import plugins

from nova_accel_tempest import config as accel_config

_SECTIONS = (
    ('service_available', accel_config.service_available),
    ('accel', accel_config.options),
)


class AccelTempestPlugin(plugins.TempestPlugin):  # type: ignore[misc]
    def load_tests(self) -> tuple[str, str]:
        """Folder of the tests, and what it is below."""
        here = os.path.dirname(os.path.abspath(__file__))
        return os.path.join(here, 'tests'), os.path.dirname(here)

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        conf.register_opts(
            accel_config.service_available, group='service_available'
        )
        config.register_opt_group(
            conf, accel_config.group, accel_config.options
        )

    def get_opt_lists(self) -> list[tuple[str, list[cfg.Opt]]]:
        return list(_SECTIONS)

    def get_service_clients(self) -> list[dict[str, ty.Any]]:
        return [
            {
                'name': 'accel',
                'service_version': 'accel.v1',
                'module_path': 'nova_accel_tempest.services',
                'client_names': ['AttachmentsClient'],
                **config.service_client_config('accel'),
            }
        ]
