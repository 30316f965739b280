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
"""Write the reference of the whitelist file from its JSON schema.

    python tools/schema_reference.py

rewrites doc/source/reference/whitelist.rst; a test fails while the page and
the schema differ. What a key means is said in the schema alone.
"""

import json
import pathlib
import re
import textwrap
import typing as ty

from nova_accel.conf import schema

PAGE = pathlib.Path(__file__).parents[1] / 'doc/source/reference/whitelist.rst'

Schema: ty.TypeAlias = dict[str, ty.Any]

_WIDTH = 79

_INTRODUCTION = """
.. Written by tools/schema_reference.py: change the JSON schema, not this page.

==================
The whitelist file
==================

What ``/etc/nova/accel.yaml`` and the files of ``/etc/nova/accel.d`` may hold.
:doc:`../admin/whitelist` shows how to write one, and ``etc/accel.yaml`` of the
source tree is an example of everything. The format is also described by a
JSON schema for editors, ``nova_accel/conf/schema/accel-v1.json``.

All files together form the whitelist. Each names its ``version``; a name of a
rule is used once. Keys that are not listed here are errors. So are YAML
aliases, merge keys and tags, a second document in one file, and a file
larger than 1 MiB.
"""


def render(document: Schema) -> str:
    """Return the page for a schema."""
    rule = document['definitions']['rule']
    match = document['definitions']['match']
    sections = [
        _license(),
        _INTRODUCTION.strip(),
        _section('The file', document['description'], document),
        _section('Defaults', None, document['properties']['defaults']),
        _section('A rule', rule['description'], rule),
        _section('match', match['description'], match),
    ]
    return '\n\n'.join(sections) + '\n'


def _license() -> str:
    source = pathlib.Path(__file__).read_text(encoding='utf-8').splitlines()
    header = (line.removeprefix('# ') for line in source[:11])
    indented = (f'   {line}'.rstrip() for line in header)
    return '..\n' + '\n'.join(indented).replace('   #\n', '\n')


def _section(title: str, text: str | None, table: Schema) -> str:
    parts = [f'{title}\n{"=" * len(title)}']
    if text is not None:
        parts.append(_wrap(text))
    required = table.get('required', ())
    parts.extend(
        _entry(key, value, key in required)
        for key, value in table['properties'].items()
    )
    return '\n\n'.join(parts)


def _entry(key: str, value: Schema, required: bool) -> str:
    value = _resolve(value)
    facts = {
        'Required': 'yes' if required else None,
        'Value': _form(value),
        # A default that depends on other keys is a comment.
        'Default': _literal(value['default'])
        if 'default' in value
        else value.get('$comment'),
        'Example': ', '.join(map(_literal, value.get('examples', ()))) or None,
    }
    lines = [_wrap(value['description'])] + [
        textwrap.fill(
            f':{name}: {fact}',
            _WIDTH - 2,
            subsequent_indent='  ',
            break_on_hyphens=False,
        )
        for name, fact in facts.items()
        if fact
    ]
    body = lines[0] + '\n\n' + '\n'.join(lines[1:])
    return f'``{key}``\n{textwrap.indent(body.strip(), "  ")}'


def _resolve(value: Schema) -> Schema:
    """Return a schema with those it refers to mixed in."""
    merged: Schema = {}
    for part in [*value.get('allOf', ()), value]:
        if '$ref' in part:
            name = part['$ref'].rpartition('/')[2]
            part = _resolve(schema.load()['definitions'][name]) | part
        merged |= part
    return merged


def _form(value: Schema) -> str:
    """Return in words which values there are."""
    if 'const' in value:
        return _literal(value['const'])
    if 'enum' in value:
        return ' or '.join(map(_literal, value['enum']))
    if 'title' in value:
        return str(value['title'])
    if value['type'] == 'integer':
        return f'whole number, {value["minimum"]} to {value["maximum"]}'
    return {'boolean': 'yes or no', 'object': 'mapping'}[value['type']]


def _literal(value: object) -> str:
    """Return a value as one writes it in YAML."""
    if isinstance(value, bool):
        return '``yes``' if value else '``no``'
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, dict):
        # Keys need no quotes.
        text = re.sub(r'"(\w+)":', r'\1:', text)
    elif isinstance(value, str) and not re.fullmatch(r'[A-Za-z][\w-]*', value):
        text = f'"{value}"'
    return f'``{text}``'


def _wrap(text: str) -> str:
    marked = re.sub(r'[A-Za-z]+(?:_[A-Za-z<>]*)+', r'``\g<0>``', text)
    return textwrap.fill(
        marked.replace('*', r'\*'),
        _WIDTH - 2,
        break_on_hyphens=False,
        break_long_words=False,
    )


if __name__ == '__main__':
    PAGE.write_text(render(schema.load()), encoding='utf-8')
