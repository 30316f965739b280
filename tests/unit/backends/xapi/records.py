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
"""Fields and words of enums in the driver's source, beside the data model.

Nothing is run. A record that is made is a literal dict at the place of the
call, or in a function of the same module. A record that is read is called
``record``, and objects by class are ``objects``.
"""

import ast

READ = 'record'
BY_CLASS = 'objects'


def problems(name, text, model):
    """Return what in one module is not in the model."""
    tree = ast.parse(text)
    functions = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    said = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            found = _read(node, model)
        elif isinstance(node, ast.Call):
            found = _made(node, functions, model)
        else:
            continue
        said += [f'{name}:{node.lineno}: {one}' for one in found]
    return said


def _read(node, model):
    key = getattr(node.slice, 'value', None)
    if not isinstance(key, str):
        return
    owner = getattr(node.value, 'attr', getattr(node.value, 'id', ''))
    if owner == BY_CLASS:
        if key not in {cls.lower() for cls in model.classes}:
            yield f'no class {key}'
    elif owner == READ:
        if not any(key in cls.fields for cls in model.classes.values()):
            yield f'no class has a field {key}'


def _made(node, functions, model):
    if getattr(node.func, 'attr', '') != 'call' or not node.args:
        return
    method = getattr(node.args[0], 'value', None)
    if not isinstance(method, str):
        return
    message = model.message(method.removeprefix('Async.'))
    if message is None:
        return
    for parameter, value in zip(
        message.parameters, node.args[1:], strict=False
    ):
        if parameter.kind.base == 'record':
            yield from _record(value, functions, model, parameter.kind.name)
        else:
            yield from _word(value, parameter, model)


def _record(value, functions, model, name):
    if isinstance(value, ast.Call):
        function = functions.get(getattr(value.func, 'id', ''))
        value = function.body[-1].value if function else value
    if not isinstance(value, ast.Dict):
        yield f'the record of {name} is not written out'
        return
    fields = model.classes[name].fields
    keys = [getattr(key, 'value', None) for key in value.keys]
    for key, item in zip(keys, value.values, strict=True):
        field = fields.get(key)
        if field is None or not field.in_constructor:
            yield f'a record of {name} takes no {key}'
        else:
            yield from _word(item, field, model)
    for field in fields.values():
        if field.in_constructor and field.default is None:
            # The model gives PBD and VBD none, and XAPI one.
            if field.name not in (*keys, 'currently_attached'):
                yield f'a record of {name} needs {field.name}'


def _word(value, of, model):
    if of.kind.base != 'enum':
        return
    for node in ast.walk(value):
        word = getattr(node, 'value', None)
        if isinstance(word, str) and word not in model.enums[of.kind.name]:
            yield f'{of.name} is never {word}'
