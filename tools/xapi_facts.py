#!/usr/bin/env python3
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
"""Write, or check, the table of facts that the XAPI simulator stands on.

    python tools/xapi_facts.py --idl idl.json --errors errors.json
    python tools/xapi_facts.py --idl idl.json --errors errors.json --check

The two files are the published data model of XAPI: classes with their fields,
messages and enums, and error codes with their parameters. The table is
``nova_accel/testing/xapi_simulator/facts.json``: names and types of the
classes that the simulator knows, nothing else. ``--check`` writes nothing and
exits with 1 if the table says anything that the model does not.
"""

import argparse
import collections.abc
import json
import pathlib
import sys
import typing as ty

TABLE = (
    pathlib.Path(__file__).parents[1]
    / 'nova_accel/testing/xapi_simulator/facts.json'
)
SOURCE = (
    'data model of xen-api (xapi-project/xen-api), '
    'August 2026, as published: names, types, defaults, parameters'
)
CLASSES = (
    'GPU_group',
    'PBD',
    'PCI',
    'PGPU',
    'PIF',
    'PUSB',
    'SM',
    'SR',
    'USB_group',
    'VBD',
    'VDI',
    'VGPU',
    'VGPU_type',
    'VIF',
    'VLAN',
    'VM',
    'VM_guest_metrics',
    'VM_metrics',
    'VUSB',
    'console',
    'event',
    'host',
    'host_cpu',
    'host_metrics',
    'network',
    'network_sriov',
    'pool',
    'session',
    'task',
)
VERBS = ('get', 'set', 'add_to', 'remove_from', 'add', 'remove')
"""Prefixes of the messages that exist for fields, in this order."""

Json: ty.TypeAlias = dict[str, ty.Any]


def table(idl: Json, errors: Json) -> Json:
    """Return the table that the model gives."""
    return {
        'source': SOURCE,
        'classes': {name: _class(idl[name]) for name in CLASSES},
        'errors': errors,
    }


def _class(model: Json) -> Json:
    messages = {
        name: [message['params'], message['result']]
        for name, message in model['messages'].items()
        if message['state'] != 'Removed'
    }
    fields = {}
    for name, field in model['fields'].items():
        verbs = [verb for verb in VERBS if messages.pop(f'{verb}_{name}', 0)]
        kind, who, default = (
            field[key] for key in ('type', 'qualifier', 'default')
        )
        fields[name] = [kind, who, default, ' '.join(verbs)]
    return {'enums': model['enums'], 'fields': fields, 'messages': messages}


def render(facts: Json) -> str:
    """Return the table as JSON: one field, message or code a line."""
    return '\n'.join(_lines(facts, 0)) + '\n'


def _lines(value: ty.Any, depth: int) -> collections.abc.Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield json.dumps(value)
        return
    yield '{'
    last = len(value) - 1
    for number, (key, item) in enumerate(value.items()):
        first, *others = _lines(item, depth + 1)
        lines = [f'{json.dumps(key)}: {first}', *others]
        lines[-1] += '' if number == last else ','
        yield from (f' {line}' for line in lines)
    yield '}'


def differences(
    ours: ty.Any, model: ty.Any, path: str = ''
) -> collections.abc.Iterator[str]:
    """Yield what the table says otherwise than the model, with its path."""
    if not isinstance(ours, dict) or not isinstance(model, dict):
        if ours != model:
            yield f'{path}: the table says {ours!r}, the model {model!r}'
        return
    for key in sorted(ours.keys() | model.keys()):
        where = f'{path}.{key}'.removeprefix('.')
        if key not in model:
            yield f'{where}: the model has no such name'
        elif key not in ours:
            yield f'{where}: the table lacks it'
        else:
            yield from differences(ours[key], model[key], where)


def _read(path: pathlib.Path) -> ty.Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f'{path}: cannot be read: {error}')


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all is well, 1 when the table differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--idl', type=pathlib.Path, required=True)
    parser.add_argument('--errors', type=pathlib.Path, required=True)
    parser.add_argument('--check', action='store_true', help='write nothing')
    options = parser.parse_args(arguments)
    facts = table(_read(options.idl), _read(options.errors))
    if not options.check:
        TABLE.write_text(render(facts))
        return 0
    found = list(differences(_read(TABLE), facts))
    print(''.join(f'{TABLE.name}: {text}\n' for text in found), end='')
    return int(bool(found))


if __name__ == '__main__':
    sys.exit(main())
