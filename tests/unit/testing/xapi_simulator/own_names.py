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
"""Names of the data model in the simulator's own source.

The simulator refuses a wrong one when it comes to it; this finds those that
no test comes to. Nothing is run.
"""

import ast
import inspect
import pathlib

from nova_accel.testing import xapi_simulator
from nova_accel.testing.xapi_simulator import rooms

_BY_FIELD = {'get': 2, 'update': 2}
_BY_KEYWORD = ('set', 'create', 'find')


def sources():
    """Yield name and text of every module."""
    folder = pathlib.Path(xapi_simulator.__file__).parent
    for path in sorted(folder.glob('*.py')):
        yield path.name, path.read_text()


def problems(name, text, model):
    """Return what in one module is not in the model."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            where = f'{name}:{node.lineno}'
            found += [f'{where}: {said}' for said in _call(node, model)]
    return found


def _call(node, model):
    verb = getattr(node.func, 'attr', '')
    words = [getattr(argument, 'value', None) for argument in node.args]
    if verb == 'Failure' and words and isinstance(words[0], str):
        yield from _failure(node, words[0], model)
        return
    if not words or not isinstance(words[0], str) or not _is_store(node):
        return
    cls = model.classes.get(words[0])
    if cls is None:
        yield f'no class {words[0]}'
        return
    place = _BY_FIELD.get(verb)
    used = words[place : place + 1] if place else []
    if verb in _BY_KEYWORD or verb == 'update':
        used = used + [word.arg for word in node.keywords if word.arg]
    if verb == 'update':
        # Its keywords are keys of a map.
        used = used[:1]
    for field in used:
        if isinstance(field, str) and field not in cls.fields:
            yield f'no field {cls.name}.{field}'


def _is_store(node):
    verb = getattr(node.func, 'attr', '')
    if verb not in (*_BY_FIELD, *_BY_KEYWORD, 'row', 'refs', 'delete'):
        return False
    value = node.func.value
    return getattr(value, 'attr', getattr(value, 'id', '')) == 'store'


def _failure(node, code, model):
    names = model.errors.get(code)
    given = len(node.args) - 1
    starred = any(isinstance(one, ast.Starred) for one in node.args)
    if names is None:
        yield f'no error {code}'
    elif not starred and given != len(names):
        yield f'{code} takes {len(names)} parameters, not {given}'


def handlers(model):
    """Return what messages are answered that do not exist, or not so."""
    found = []
    for method, handler in {**rooms.LOCKED, **rooms.STAGED}.items():
        message = model.message(method)
        if message is None:
            found.append(f'no message {method}')
            continue
        parameters = list(inspect.signature(handler).parameters.values())[1:]
        many = any(one.kind == one.VAR_POSITIONAL for one in parameters)
        needed = sum(
            one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD
            for one in parameters
        )
        if needed > message.required or (
            not many and len(parameters) < len(message.parameters)
        ):
            found.append(f'{method} takes other parameters')
    return found
