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
"""Connection URIs that may be shown.

A URI may carry a user name and a password before the host, and keys or
tokens in its query. None of that belongs on a terminal or in a log.
"""

import urllib.parse

_UNREADABLE = '(unreadable URI)'


def shown(uri: str) -> str:
    """Return the URI without user, password, query and fragment.

    >>> shown('qemu+tcp://bob:secret@host1/system?keyfile=/k')
    'qemu+tcp://host1/system'
    """
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError:
        return _UNREADABLE
    if '://' not in uri:
        return _UNREADABLE if '@' in uri else uri.partition('?')[0]
    _user, _at, host = parts.netloc.rpartition('@')
    return f'{parts.scheme}://{host}{parts.path}'


def is_local(uri: str) -> bool:
    """Tell a libvirt on this machine from one elsewhere or a file.

    >>> is_local('qemu:///system'), is_local('qemu+ssh://host1.example/system')
    (True, False)
    """
    scheme, _, rest = uri.partition('://')
    return scheme != 'test' and rest.startswith('/')


def scrub(text: str, uri: str) -> str:
    """Return a message of libvirt's without what ``shown`` leaves out."""
    text = text.replace(uri, shown(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, '***')
    return text


def _secrets(uri: str) -> set[str]:
    userinfo = uri.partition('://')[2].partition('/')[0].rpartition('@')[0]
    password = userinfo.partition(':')[2]
    query = uri.partition('?')[2]
    values = {value for _key, value in urllib.parse.parse_qsl(query)}
    found = {userinfo, password, query, *values}
    found |= {urllib.parse.unquote(text) for text in found}
    return found - {''}
