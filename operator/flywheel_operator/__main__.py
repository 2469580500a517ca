"""`python -m flywheel_operator`: the control plane as one process."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial

from flywheel_operator import logs
from flywheel_operator.app import watch
from flywheel_operator.config_file import ConfigError, load_config
from flywheel_operator.ports.errors import Terminal
from flywheel_operator.ports.kube import Kube
from flywheel_operator.ports.login import Login, find_kubeconfig
from flywheel_operator.ports.store import connector
from flywheel_operator.runtime import run
from flywheel_operator.settings import OperatorConfig


async def main(config: OperatorConfig) -> bool:
    """Runs until SIGTERM, or until it has to start anew; whether it has to."""
    login = Login(find_kubeconfig())
    async with Kube(login, config.timing.request) as kube:
        return await run(kube, connector(config.timing.request / 3), config, partial(watch, login))


if __name__ == "__main__":
    try:
        settings = load_config()
        logs.configure(settings.log_level)
        if asyncio.run(main(settings)):
            os.execv(sys.executable, [sys.executable, "-m", "flywheel_operator"])
    except (ConfigError, Terminal) as problem:
        sys.exit(f"flywheel-operator: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
