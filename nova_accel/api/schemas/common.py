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
"""Parts of schemas that several nouns share."""

import typing as ty

Schema = dict[str, ty.Any]

_HEX = '[0-9a-f]'
UUID = f'^{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}(?!\n)$'

ID: Schema = {
    'type': 'string',
    'pattern': UUID,
    'description': 'A uuid in lower-case hexadecimal digits.',
}

RESOURCE_CLASS: Schema = {
    'type': 'string',
    'pattern': '^[A-Z0-9_]{1,255}(?!\n)$',
    'description': 'A resource class, as Placement names it.',
}


def closed(
    properties: dict[str, Schema],
    optional: tuple[str, ...] = (),
    **more: ty.Any,
) -> Schema:
    """Return the schema of an object that has these properties alone.

    :param optional: those that may be missing.
    """
    return {
        'type': 'object',
        'properties': properties,
        'required': [name for name in properties if name not in optional],
        'additionalProperties': False,
        **more,
    }


def nullable(schema: Schema) -> Schema:
    """Return a schema that null satisfies, too."""
    return {**schema, 'type': [schema['type'], 'null']}
