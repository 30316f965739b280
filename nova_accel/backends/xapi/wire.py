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
"""What travels: XAPI's values as XML-RPC has them.

Integers travel as decimal strings, both ways; ``None`` would travel as nil
without complaint, and means nothing to XAPI. So both are dealt with here,
before anything is sent.
"""

import collections.abc
import html
import re
import typing as ty

NULL = 'OpaqueRef:NULL'

Record: ty.TypeAlias = collections.abc.Mapping[str, ty.Any]

_RESULT = re.compile(
    r'\s*<value>(?:<string>)?([^<]*)(?:</string>)?</value>\s*'
)


def encode(value: object) -> object:
    """Make an argument ready to travel.

    :raises TypeError: it has no form that XAPI would understand.
    """
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, collections.abc.Mapping):
        return {str(key): encode(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encode(part) for part in value]
    raise TypeError(f'{type(value).__name__} is no value of XAPI')


def task_result(text: str) -> str:
    """Read what a task returned: a reference, a plain string, or nothing.

    :raises ValueError: it is more than that.
    """
    if not text.strip() or text.strip() == '<value/>':
        return ''
    found = _RESULT.fullmatch(text)
    if found is None:
        raise ValueError(f'the result of a task cannot be read: {text[:80]}')
    return html.unescape(found[1])


def is_ref(value: object) -> bool:
    """Tell a reference to an object from none."""
    return isinstance(value, str) and value not in ('', NULL)
