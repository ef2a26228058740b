import no_such_package_there  # noqa: F401
