from tests.quick_servers import quick_servers  # noqa: F401 - a fixture
