"""What nova finds under ``compute_driver = accel.<Driver>``. Nothing else."""

from nova_accel.virt.drivers import *  # noqa: F401,F403,H303
