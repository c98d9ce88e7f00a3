from tests.gateway.opcua.conftest import bench  # noqa: F401 - a fixture
