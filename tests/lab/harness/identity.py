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
"""Stands where keystone's middleware stands: everyone is the administrator.

Who may do what is not what the lab is about, and a keystone would cost the
start 10 s and 250 MB. Loaded by paste into nova-api.
"""

import collections.abc
import typing as ty

_Environ = dict[str, ty.Any]
_Application = collections.abc.Callable[..., ty.Any]

_HEADERS = {
    'HTTP_X_IDENTITY_STATUS': 'Confirmed',
    'HTTP_X_USER_ID': 'lab',
    'HTTP_X_PROJECT_ID': 'lab',
    'HTTP_X_ROLES': 'admin,manager,member,reader',
    'HTTP_X_AUTH_TOKEN': 'admin',
    'HTTP_X_SERVICE_CATALOG': '[]',
}


def filter_factory(
    _global: ty.Any, **_local: ty.Any
) -> collections.abc.Callable[[_Application], _Application]:
    def make(application: _Application) -> _Application:
        def serve(environ: _Environ, start_response: ty.Any) -> ty.Any:
            environ.update(_HEADERS)
            return application(environ, start_response)

        return serve

    return make
