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
"""Tasks: what an Async message or an image transfer is followed by."""

import threading
import typing as ty
import xmlrpc.client

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store
from nova_accel.testing.xapi_simulator import world

RUNNING = ('pending', 'cancelling')


def start(one: world.World, label: str, host: str, text: str = '') -> str:
    """Make a task that is pending."""
    task = one.store.create(
        'task',
        name_label=label,
        name_description=text,
        created=store.now(),
        status='pending',
        type='<none/>',
        resident_on=host,
        allowed_operations=['cancel'],
    )
    one.cancelled[task] = threading.Event()
    return task


def succeed(one: world.World, task: str, result: ty.Any = '') -> None:
    """End a task well.

    :param result: what the message returned, as XML-RPC carries it.
    """
    _finish(one, task, 'success', result=_xml(result), progress=1.0)


def fail(one: world.World, task: str, error: failure.Failure) -> None:
    """End a task with an error, or as cancelled."""
    stop = one.cancelled.get(task)
    cancelled = stop is not None and stop.is_set()
    _finish(
        one,
        task,
        'cancelled' if cancelled else 'failure',
        error_info=error.details,
    )


def is_running(one: world.World, task: str) -> bool:
    return one.store.get('task', task, 'status') in RUNNING


def cancel_all(one: world.World) -> None:
    """End all tasks, as a restart of XAPI does: no error says why."""
    for task in one.store.refs('task'):
        if is_running(one, task):
            stop = one.cancelled.get(task)
            _finish(one, task, 'cancelled', progress=1.0)
            if stop is not None:
                stop.set()


def _finish(
    one: world.World, task: str, status: str, **values: object
) -> None:
    with one.store.lock:
        one.cancelled.pop(task, None)
        # A restart may have cancelled it meanwhile.
        if one.store.exists(task) and is_running(one, task):
            one.store.set(
                'task',
                task,
                status=status,
                finished=store.now(),
                allowed_operations=['destroy'],
                **values,
            )


def _xml(result: ty.Any) -> str:
    if result == '':
        return ''
    text = xmlrpc.client.dumps((result,), allow_none=True)
    start, end = text.index('<value>'), text.rindex('</value>')
    # XAPI writes a string without its type.
    return (
        text[start : end + len('</value>')]
        .replace('<string>', '')
        .replace('</string>', '')
    )


def create(call: world.Call, label: str, description: str) -> str:
    return start(call.world, label, call.host, description)


def destroy(call: world.Call, task: str) -> None:
    if is_running(call.world, task):
        stop = call.world.cancelled.get(task)
        if stop is not None:
            stop.set()
    call.store.delete('task', task)


def cancel(call: world.Call, task: str) -> None:
    if not is_running(call.world, task):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED', f'task {task} is not running'
        )
    call.store.set('task', task, status='cancelling')
    call.world.cancelled[task].set()


MESSAGES: world.Messages = {
    'create': create,
    'destroy': destroy,
    'cancel': cancel,
}
