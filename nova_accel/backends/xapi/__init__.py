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
"""XenServer and XCP-ng, through XAPI."""

from nova_accel.backends.xapi import backend
from nova_accel.backends.xapi import session
from nova_accel.backends.xapi import settings

XapiBackend = backend.XapiBackend
Session = session.Session
Settings = settings.Settings

__all__ = ['Session', 'Settings', 'XapiBackend']
