"""From what an app needs to what a worker can run: Envs, versions, packages."""
