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
"""What the driver calls, compared with the published data model.

Nothing is run: every call goes through ``call`` with the message written
out, so the source tells all of them.
"""

import ast
import json
import pathlib
import re

import nova_accel
from nova_accel.testing.xapi_simulator import facts

PACKAGES = ('backends/xapi', 'virt/xapi')

# Where the message is passed on; what is passed there is written out
# elsewhere.
DOOR = 'session.py'
_CODE = re.compile(r'[A-Z]+(_[A-Z]+)+')
# In capitals, and no code of an error of XAPI.
_OTHERS = frozenset(
    {'IMAGE_PENDING_UPLOAD', 'IMAGE_UPLOADING', 'MEMORY_MB', 'DISK_GB'}
)


def sources():
    """Yield file and text of all modules that talk to XAPI."""
    top = pathlib.Path(nova_accel.__file__).parent
    for package in PACKAGES:
        for path in sorted(top.joinpath(package).glob('*.py')):
            yield path.name, path.read_text()


def from_files(folder):
    """Read the published model itself: idl.json and errors.json."""
    folder = pathlib.Path(folder)
    classes = json.loads(folder.joinpath('idl.json').read_text())
    arity = {
        f'{cls}.{name}': (
            sum(required for _n, _t, required in message['params']),
            len(message['params']),
        )
        for cls, one in classes.items()
        for name, message in one['messages'].items()
    }
    fields = {cls.lower(): set(one['fields']) for cls, one in classes.items()}
    errors = set(json.loads(folder.joinpath('errors.json').read_text()))
    return arity, fields, errors


def from_table():
    """Read the table that ships with the simulator."""
    known = facts.load()
    arity = {
        f'{cls.name}.{name}': (message.required, len(message.parameters))
        for cls in known.classes.values()
        for name, message in cls.messages.items()
    }
    fields = {
        cls.name.lower(): set(cls.fields) for cls in known.classes.values()
    }
    return arity, fields, set(known.errors)


def problems(name, text, model):
    """Return what in one module is not in the model."""
    arity, _fields, errors = model
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            found += _call(name, node, arity)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _CODE.fullmatch(node.value)
            and node.value not in errors | _OTHERS
        ):
            found.append(f'{name}:{node.lineno}: no error {node.value}')
    return found


def _call(name, node, arity):
    attribute = getattr(node.func, 'attr', '')
    if attribute != 'call' or not node.args:
        return
    where = f'{name}:{node.lineno}'
    message, *args = node.args
    if not isinstance(message, ast.Constant):
        if name != DOOR:
            yield f'{where}: the message is not written out'
        return
    method = message.value.removeprefix('Async.')
    if method not in arity:
        yield f'{where}: no message {method}'
    elif not any(isinstance(each, ast.Starred) for each in args):
        least, most = arity[method]
        if not least <= len(args) <= most:
            yield f'{where}: {method} takes {least} to {most} parameters'
