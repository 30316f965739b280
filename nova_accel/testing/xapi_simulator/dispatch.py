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
"""From a message to its answer.

In XAPI's order: is this host master, is there such a message, is the session
known, are parameters of the right number and type; then faults; then whoever
answers it. ``Async.VM.start`` answers with a task and goes on by itself.
"""

import threading
import traceback
import typing as ty

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import generic
from nova_accel.testing.xapi_simulator import kinds
from nova_accel.testing.xapi_simulator import rooms
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import task
from nova_accel.testing.xapi_simulator import world

ASYNC = 'Async.'
_LOGIN = 'session.login_with_password'

Response: ty.TypeAlias = dict[str, ty.Any]


def respond(
    one: world.World, host: str, method: str, parameters: tuple[ty.Any, ...]
) -> Response:
    """Return what XML-RPC sends back.

    :raises Dropped: nothing is sent, the connection breaks.
    """
    try:
        value = _answer(one, host, method, parameters)
    except failure.Failure as error:
        return {'Status': 'Failure', 'ErrorDescription': error.details}
    except faults.Dropped:
        raise
    except Exception as error:
        # A mistake of ours must not look like a broken connection.
        traceback.print_exc(limit=-8)
        details = ['INTERNAL_ERROR', f'simulator: {error!r}']
        return {'Status': 'Failure', 'ErrorDescription': details}
    return {'Status': 'Success', 'Value': value}


def _answer(
    one: world.World, host: str, method: str, parameters: tuple[ty.Any, ...]
) -> ty.Any:
    plain = method.removeprefix(ASYNC)
    one.counts[plain] += 1
    if host != one.master:
        raise failure.Failure('HOST_IS_SLAVE', one.address(one.master))
    message = one.model.message(plain)
    if message is None:
        raise failure.Failure('MESSAGE_METHOD_UNKNOWN', method)
    call = world.Call(one, host, plain)
    if plain != _LOGIN:
        call.session = session.check(one, parameters[0] if parameters else '')
        parameters = parameters[1:]
    values = _decode(one, message, method, parameters)
    call.values = values
    if plain != method:
        return _start_task(call, message)
    return run(call, message)


def _decode(
    one: world.World,
    message: facts.Message,
    method: str,
    parameters: tuple[ty.Any, ...],
) -> dict[str, ty.Any]:
    expected = message.parameters
    if not message.required <= len(parameters) <= len(expected):
        # The session counts, as it does on the wire.
        raise failure.Failure(
            'MESSAGE_PARAMETER_COUNT_MISMATCH',
            method,
            len(expected) + 1,
            len(parameters) + 1,
        )
    return {
        parameter.name: _decode_one(one, parameter, value)
        for parameter, value in zip(expected, parameters, strict=False)
    }


def _decode_one(
    one: world.World, parameter: facts.Parameter, value: ty.Any
) -> ty.Any:
    try:
        found = kinds.decode(parameter.kind, value, one.model.enums)
        if parameter.kind.base == 'record':
            return _decode_record(one, parameter.kind.name, found)
        return found
    except kinds.WrongType as error:
        raise failure.Failure('FIELD_TYPE_ERROR', parameter.name) from error


def _decode_record(
    one: world.World, cls: str, record: dict[str, ty.Any]
) -> dict[str, ty.Any]:
    fields = one.model.classes[cls].fields
    unknown = sorted(record.keys() - fields.keys())
    if unknown:
        # A real host is silent; here a typing error must not pass.
        raise failure.Failure(
            'INTERNAL_ERROR', f'{cls} has no field {", ".join(unknown)}'
        )
    found = {}
    for name, field in fields.items():
        if not field.in_constructor:
            continue
        if name in record:
            try:
                found[name] = kinds.decode(
                    field.kind, record[name], one.model.enums
                )
            except kinds.WrongType as error:
                raise failure.Failure('FIELD_TYPE_ERROR', name) from error
        elif field.default is None and name != 'currently_attached':
            raise failure.Failure(
                'INTERNAL_ERROR', f'{cls} record lacks the field {name}'
            )
    return found


def run(call: world.Call, message: facts.Message) -> ty.Any:
    """Answer a message, and return the value as XML-RPC carries it."""
    call.stage(faults.BEFORE)
    value = _execute(call, message)
    call.stage(faults.AFTER)
    if message.result.base == 'void':
        return ''
    if message.name in generic.OF_CLASSES or message.result.base == 'any':
        return value
    return kinds.encode(message.result, value)


def _execute(call: world.Call, message: facts.Message) -> ty.Any:
    values = call.values.values()
    staged = rooms.STAGED.get(call.method)
    if staged is not None:
        return staged(call, *values)
    with call.store.lock:
        handler = rooms.LOCKED.get(call.method)
        if handler is not None:
            return handler(call, *values)
        answer = generic.answer(message)
        if answer is not None:
            return answer(call, message, *values)
    raise failure.Failure('NOT_IMPLEMENTED', call.method)


def _start_task(call: world.Call, message: facts.Message) -> str:
    label = f'{ASYNC}{call.method}'
    call.task = task.start(call.world, label, call.host)
    call.stop = call.world.cancelled[call.task]
    threading.Thread(
        target=_run_task, args=(call, message), daemon=True
    ).start()
    return call.task


def _run_task(call: world.Call, message: facts.Message) -> None:
    try:
        task.succeed(call.world, call.task, run(call, message))
    except failure.Failure as error:
        task.fail(call.world, call.task, error)
    except Exception as error:
        # Also of a fault that breaks connections: a task has none.
        text = f'{type(error).__name__}: {error}'
        found = failure.Failure('INTERNAL_ERROR', text)
        task.fail(call.world, call.task, found)
