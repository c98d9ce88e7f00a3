from tests.faults.tables import row  # noqa: F401 - a fixture
