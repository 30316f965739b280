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
"""May this token do that? The rules are in ``policies``."""

import collections.abc
import functools
import typing as ty

import nova.conf
from nova import context as nova_context
from nova import objects
from oslo_policy import opts
from oslo_policy import policy

from nova_accel.api import policies
from nova_accel.api.policies import accelerator
from nova_accel import exception

CONF = nova.conf.CONF
OVERRIDE_LOCK = accelerator.OVERRIDE_LOCK

Target = collections.abc.Mapping[str, str]


@functools.lru_cache(maxsize=1)
def enforcer() -> policy.Enforcer:
    """Return the one of this process.

    It reads the policy file of nova: ``[oslo_policy] policy_file``.
    """
    made = policy.Enforcer(CONF)
    made.suppress_default_change_warnings = True
    made.register_defaults(policies.list_rules())
    made.load_rules()
    return made


def reset() -> None:
    """Forget the rules that were read."""
    enforcer.cache_clear()


def get_enforcer() -> policy.Enforcer:
    """Return one for the tools of oslo.policy, which ask by this name."""
    CONF([], project='nova')
    opts.set_defaults(CONF, 'policy.yaml')
    return enforcer()


def allows(
    context: nova_context.RequestContext, rule: str, target: Target
) -> bool:
    """Tell whether a rule lets the one who asks act on a target."""
    try:
        return bool(
            enforcer().authorize(rule, dict(target), context, do_raise=False)
        )
    except policy.InvalidScope:
        return False


def check_token(context: nova_context.RequestContext, rule: str) -> None:
    """Refuse a token that may not act on a server of its own.

    :raises PolicyRefusal: that tells nothing about any server.
    """
    own = {
        'project_id': context.project_id or '',
        'user_id': context.user_id or '',
    }
    if not allows(context, rule, own):
        raise exception.PolicyRefusal(rule=rule)


def check(
    context: nova_context.RequestContext,
    rule: str,
    instance: objects.Instance,
) -> None:
    """Refuse to act on a server; one elsewhere is not even there.

    :raises ServerNotFound: it is of another project.
    :raises PolicyRefusal: it is not.
    """
    if allows(context, rule, target(instance)):
        return
    if instance.project_id != context.project_id:
        raise exception.ServerNotFound(server=instance.uuid)
    raise exception.PolicyRefusal(rule=rule)


def target(instance: objects.Instance) -> Target:
    """Return what rules may compare with."""
    return {
        'project_id': ty.cast(str, instance.project_id),
        'user_id': ty.cast(str, instance.user_id),
    }
