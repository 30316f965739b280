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
"""JSON schema of the whitelist, for editors and for whoever generates files.

nova_accel itself does not validate with it: the parser in ``core`` knows
lines, near misses and what a schema cannot say. A test holds them together.
"""

import importlib.resources
import json
import typing as ty


def load() -> dict[str, ty.Any]:
    """Return the schema of version 1 of the file, JSON Schema draft 7."""
    text = importlib.resources.files(__name__).joinpath('accel-v1.json')
    return ty.cast(dict[str, ty.Any], json.loads(text.read_text('utf-8')))
