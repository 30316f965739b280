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
"""Let tox environments share a folder: ``runner = shared``.

tox makes a folder anew when another environment than the last one uses it.
Those that need nova hold the same packages, 450 MB of them.
"""

import collections.abc
import contextlib
import pathlib
import typing as ty

from tox import plugin
from tox.tox_env import info
from tox.tox_env.python.virtual_env import runner
from tox.tox_env import register


class SharedInfo(info.Info):
    """What tox remembers of a folder, whichever environment asks."""

    @contextlib.contextmanager
    def compare(
        self, value: ty.Any, section: str, sub_section: str | None = None
    ) -> collections.abc.Generator[tuple[bool, ty.Any], None, None]:
        if section == 'ToxEnv':
            value = {**value, 'name': 'shared'}
        with super().compare(value, section, sub_section) as found:
            yield found


class SharedRunner(runner.VirtualEnvRunner):
    @staticmethod
    def id() -> str:
        return 'shared'

    @property
    def cache(self) -> info.Info:
        return SharedInfo(ty.cast(pathlib.Path, self.env_dir))


@plugin.impl
def tox_register_tox_env(register: register.ToxEnvRegister) -> None:
    register.add_run_env(SharedRunner)
