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
"""What all versioned objects of ours share."""

import collections

from oslo_versionedobjects import base


class AccelObjectRegistry(base.VersionedObjectRegistry):
    """Registers our objects and lists ours only.

    The library keeps one table for the whole process, in which nova's
    objects stand too.
    """

    @classmethod
    def obj_classes(
        cls,
    ) -> collections.defaultdict[str, list[type[base.VersionedObject]]]:
        """Return name -> classes, newest version first."""
        ours = collections.defaultdict(list)
        for name, classes in super().obj_classes().items():
            if issubclass(classes[0], AccelObject):
                ours[name] = classes
        return ours


class AccelObject(base.VersionedObject):
    """Base of our objects: our own namespace, apart from nova's."""

    OBJ_PROJECT_NAMESPACE = 'nova_accel'
    # Short, since it is written four times for each object into a column
    # of limited length.
    OBJ_SERIAL_NAMESPACE = 'accel'
